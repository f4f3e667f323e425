// The rooms of the administration, the playground and the side. Their HTML comes from the server whole;
// what people do there goes back as an action with fields.
(() => {
  // A question before what cannot be undone. Escape and the focus are the dialog's own.
  const confirmed = (button) =>
    new Promise((resolve) => {
      const dialog = document.createElement("dialog");
      dialog.className = "a-dialog a-frame";
      dialog.innerHTML =
        '<form method="dialog"><h2 id="a-question"></h2><p></p><div class="a-buttons">' +
        '<button value="yes" class="a-primary a-danger"></button><button value="" autofocus>Cancel</button></div></form>';
      dialog.setAttribute("aria-labelledby", "a-question");
      dialog.querySelector("h2").textContent = button.dataset.confirm;
      dialog.querySelector("p").textContent = button.dataset.detail ?? "";
      dialog.querySelector("button").textContent = button.dataset.yes;
      dialog.addEventListener("close", () => {
        resolve(dialog.returnValue === "yes");
        dialog.remove();
        button.focus();
      });
      document.body.append(dialog);
      dialog.showModal();
    });

  const copy = async (button) => {
    const code = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(code);
    await navigator.clipboard?.writeText(code.textContent);
    button.textContent = navigator.clipboard ? "Copied" : "Selected";
  };

  const fieldsOf = (form) => {
    const fields = {};
    for (const [name, value] of new FormData(form)) (fields[name] ??= []).push(value);
    return fields;
  };

  // Whether a list or an object can be sent as it is written; tells beneath it why not.
  const SHAPES = { array: [Array.isArray, "a list: [ … ]"], object: [(it) => it?.constructor === Object, "an object: { … }"] };
  const judged = (area) => {
    let fault = "";
    try {
      const [fits, meant] = SHAPES[area.dataset.json] ?? [() => true, ""];
      if (area.value.trim() && !fits(JSON.parse(area.value))) fault = `This must be ${meant}.`;
    } catch (error) {
      fault = `This is no JSON yet: ${error.message}`;
    }
    const said = area.closest(".a-field").querySelector(".t-fault");
    said.textContent = fault;
    said.hidden = !fault;
    area.setAttribute("aria-invalid", String(Boolean(fault)));
    return !fault;
  };

  // A secret goes when people turn elsewhere; a tab that is left stays in the page, hidden.
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#rooms .tab-wrapper")) return;
    for (const secret of document.querySelectorAll(".a-secret")) secret.remove();
  });

  // Makes one tree of another by what differs: focus, and what is being typed, stay where nothing changed.
  const mend = (old, next) => {
    if (old.nodeName !== next.nodeName || old.id !== next.id) return old.replaceWith(next);
    if (old.nodeType === Node.TEXT_NODE && old.data !== next.data) old.data = next.data;
    for (const { name, value } of next.attributes ?? []) {
      if (old.getAttribute(name) === value) continue;
      old.setAttribute(name, value);
      if (name === "value") old.value = value;
    }
    for (const { name } of [...(old.attributes ?? [])]) if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
    const was = [...old.childNodes], now = [...next.childNodes];
    now.forEach((child, at) => (was[at] ? mend(was[at], child) : old.append(child)));
    was.slice(now.length).forEach((child) => child.remove());
  };

  const put = (element, html) => {
    const next = document.createElement("template");
    next.innerHTML = html;
    const [old, fresh] = [element.firstElementChild, next.content.firstElementChild];
    if (old && fresh && "mend" in old.dataset && "mend" in fresh.dataset) mend(old, fresh);
    else element.replaceChildren(next.content);
  };

  // A room that lives looks again while it is in front and somebody is there; Gradio drops what comes too early.
  const AWAY_MS = 30 * 60 * 1000;
  const STALE_MS = 15 * 1000;
  let touched = Date.now();
  for (const kind of ["pointermove", "keydown", "touchstart"]) document.addEventListener(kind, () => (touched = Date.now()), { passive: true });

  window.parleyRoom = (element, props, send, watch) => {
    let drawn = 0;
    const look = () => {
      const room = element.firstElementChild;
      const [every, since] = [Number(room?.dataset.live ?? 0) * 1000, Date.now() - drawn];
      if (!every || !element.offsetParent || document.hidden) return;
      room.toggleAttribute("data-stale", since > STALE_MS);
      if (since >= every && Date.now() - touched < AWAY_MS) send({ act: "refresh", fields: {} });
    };
    setInterval(look, 1000);

    const act = (name, fields) => {
      element.setAttribute("aria-busy", "true");
      send({ act: name, fields });
    };

    const draw = () => {
      const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
      const before = element.querySelector("[autofocus]");
      put(element, props.value ?? "");
      drawn = Date.now();
      element.removeAttribute("aria-busy");
      const after = element.querySelector("[autofocus]");
      (after && after !== before ? after : document.getElementById(focused || "-"))?.focus();
      if (element.querySelector(".a-form:not(.a-still), .a-notice, .p-alert")) element.closest(".tabitem")?.scrollTo({ top: 0 });
    };

    element.addEventListener("click", async (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.copy) return copy(button);
      if (!button?.dataset.act) return;
      const { act: name, confirm, detail, yes, ...data } = button.dataset;
      if (confirm && !(await confirmed(button))) return;
      act(name, Object.fromEntries(Object.entries(data).map(([field, value]) => [field, [value]])));
    });
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      const areas = [...event.target.querySelectorAll("[data-json]")];
      const wrong = areas.filter((area) => !judged(area))[0];
      if (wrong) return wrong.focus();
      act(event.submitter?.dataset.as ?? event.target.dataset.act, fieldsOf(event.target));
    });
    element.addEventListener("input", (event) => {
      if ("json" in event.target.dataset) judged(event.target);
      if ("clears" in event.target.dataset && !event.target.value) event.target.form.requestSubmit();
    });
    element.addEventListener("change", (event) => {
      if ("auto" in event.target.dataset) event.target.form.requestSubmit();
    });
    element.addEventListener("parley-act", (event) => act(event.detail.act, event.detail.fields));
    watch("value", draw);
    draw();
  };
})();
