// Images for a question: chosen, pasted or dropped. They are judged here by what the model's card says, sent to
// the page's server, and then shown by it.
(() => {
  const place = () => document.querySelector("#images .i-images");
  const inChat = () => Boolean(place()?.offsetParent);

  const size = (count) => (count < 2 ** 20 ? `${Math.round(count / 2 ** 10)} KiB` : `${+(count / 2 ** 20).toFixed(1)} MiB`);

  const millions = (count) => +(count / 1e6).toFixed(1);

  // Why a file cannot go; empty where it can. Only a browser can count the pixels without trusting the file.
  const fault = async (file, law) => {
    if (!law.types.split(",").includes(file.type)) return `${file.name} is no ${law.formats}.`;
    if (file.size > Number(law.bytes)) return `${file.name} has ${size(file.size)}; an image may have ${size(Number(law.bytes))}.`;
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) return `${file.name} is broken, or no image.`;
    const pixels = picture.width * picture.height;
    picture.close();
    const most = Number(law.pixels);
    return pixels > most ? `${file.name} has ${millions(pixels)} megapixels; an image may have ${millions(most)}.` : "";
  };

  // The name under which the server has it from now on.
  const send = async (file) => {
    const address = `images?name=${encodeURIComponent(file.name.slice(-80))}`;
    const answer = await fetch(address, { method: "POST", body: file, headers: { "content-type": file.type } });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    return told.id;
  };

  let busy = 0;
  const take = async (files) => {
    const fields = { ids: [], faults: [] };
    const law = { ...place().dataset };
    if ("off" in law) fields.faults.push(law.off);
    else {
      busy += 1;
      place().setAttribute("aria-busy", "true");
      for (const file of files) {
        try {
          const why = await fault(file, law);
          if (why) fields.faults.push(why);
          else fields.ids.push(await send(file));
        } catch (error) {
          fields.faults.push(`${file.name} did not arrive: ${error.message}`);
        }
      }
      busy -= 1;
    }
    place()?.dispatchEvent(new CustomEvent("parley-act", { bubbles: true, detail: { act: "attach", fields } }));
  };

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.(".i-add")) return;
    const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, accept: place().dataset.types });
    input.addEventListener("change", () => take([...input.files]));
    input.click();
  });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || !inChat()) return;
    event.preventDefault();
    take(files);
  });

  // A file that is dropped anywhere else would be opened in place of the page.
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const over = (on) => document.querySelector("#chat-room")?.classList.toggle("i-over", on && inChat());
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) over(false);
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    over(false);
    if (inChat()) take([...event.dataTransfer.files]);
  });

  // A question waits for the images that are on their way.
  const early = (event) => {
    if (!busy) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("click", (event) => event.target.closest?.("#composer .submit-button") && early(event), true);
  document.addEventListener("keydown", (event) => event.key === "Enter" && event.target.closest?.("#composer") && early(event), true);
})();
