// What Gradio leaves to the page.
(() => {
  const narrow = () => window.matchMedia("(max-width: 768px)").matches;

  // A login that has ended answers 401: go and log in.
  const ask = window.fetch.bind(window);
  window.fetch = async (...request) => {
    const answer = await ask(...request);
    if (answer.status === 401) window.location.assign("login");
    return answer;
  };

  // Gradio labels each message with its markup, which a screen reader would
  // read out, and gives the composer's buttons no name.
  const NAMES = {
    "[data-testid=bot]": "Answer",
    "[data-testid=user]": "Question",
    "#composer .submit-button": "Send",
    "#composer .stop-button": "Stop",
    "#chat .thought-group > [role=button]": "Reasoning",
  };
  const name = () => {
    for (const [selector, label] of Object.entries(NAMES)) {
      for (const element of document.querySelectorAll(`${selector}:not([aria-label="${label}"])`)) {
        element.setAttribute("aria-label", label);
      }
    }
  };

  // On a phone the conversations cover the chat: out of the way until asked for.
  const side = () => document.querySelector("#side.open .toggle-button");
  let arrived = false;
  const arrive = () => {
    if (arrived || !document.querySelector(".p-status")) return;
    arrived = true;
    if (narrow()) side()?.click();
  };
  document.addEventListener("click", (event) => {
    if (narrow() && event.target.closest?.("#begin, .c-open")) side()?.click();
  });

  // What is said in the chat can be gone on with otherwise: the side does that.
  document.addEventListener("click", (event) => {
    const branch = event.target.closest?.(".p-branch");
    if (!branch) return;
    const [, turn] = branch.className.match(/p-turn-(\d+)/) ?? [];
    const detail = { act: "branch", fields: { turn: [turn ?? ""] } };
    document.querySelector("#conversations [data-drawn]")?.dispatchEvent(new CustomEvent("parley-act", { bubbles: true, detail }));
  });

  // Escape stops the answer.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector("#composer .stop-button")?.click();
  });

  new MutationObserver(() => {
    name();
    arrive();
  }).observe(document, { childList: true, subtree: true });
})();
