// What Gradio leaves to the page.
(() => {
  // A login that has ended answers 401: go and log in.
  const ask = window.fetch.bind(window);
  window.fetch = async (...request) => {
    const answer = await ask(...request);
    if (answer.status === 401) window.location.assign("login");
    return answer;
  };

  // Gradio labels each message with its markup, which a screen reader would read out.
  const label = (root) => {
    for (const message of root.querySelectorAll?.("[data-testid=bot], [data-testid=user]") ?? []) {
      message.setAttribute("aria-label", message.dataset.testid === "bot" ? "Answer" : "Question");
    }
  };
  new MutationObserver((changes) => changes.forEach((change) => label(change.target.parentElement ?? change.target)))
    .observe(document, { childList: true, subtree: true });

  // Escape stops the answer.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector("#composer .stop-button")?.click();
  });
})();
