// Fit every slide into 1280 x 720: large text and a large figure first, then smaller, but never below what a room can
// read. Whatever still does not fit and is marked `data-goes` is left to the notes, where the whole text stands anyway.
const TEXT = [30, 28, 26, 24, 22, 20, 19, 18];
const FIGURE = [520, 470, 420, 370, 320, 280];

function fits(section) {
  const box = section.getBoundingClientRect();
  if (section.scrollWidth > section.clientWidth || section.scrollHeight > section.clientHeight) return false;
  const inner = box.bottom - 26;
  for (const child of section.querySelectorAll(":scope > *:not(aside), :scope > * > *")) {
    if (child.closest("aside")) continue;
    const rect = child.getBoundingClientRect();
    if (rect.height && (rect.bottom > inner || rect.right > box.right - 30)) return false;
  }
  for (const pre of section.querySelectorAll("pre, table, mjx-container")) {
    if (pre.closest("aside")) continue;
    if (pre.scrollWidth > pre.clientWidth + 1 && pre.tagName === "PRE") return false;
    if (pre.getBoundingClientRect().right > pre.parentElement.getBoundingClientRect().right + 2) return false;
  }
  for (const formula of section.querySelectorAll("mjx-container > svg")) {
    if (!formula.closest("aside") && formula.getBoundingClientRect().right > box.right - 40) return false;
  }
  return true;
}

function fit(section) {
  const figures = section.querySelector(":scope .figure img") ? FIGURE : [0];
  const optional = [...section.querySelectorAll("[data-goes]")].filter((part) => !part.closest("aside"));
  optional.reverse().sort((a, b) => a.dataset.goes - b.dataset.goes); // what goes first; of equals, the last one
  for (;;) {
    for (const figure of figures) {
      for (const text of TEXT) {
        section.style.setProperty("--f", `${text}px`);
        section.style.setProperty("--fig", `${figure}px`);
        for (const stacked of [false, true]) {
          section.classList.toggle("stacked", stacked); // output below the code instead of beside it
          if (fits(section)) return;
        }
      }
    }
    if (!optional.length) return;
    optional.shift().classList.add("hidden");
  }
}

async function start() {
  await MathJax.startup.promise;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  document.querySelectorAll(".slides > section").forEach(fit);
  // The window with the notes has no style that hides what is meant for screen readers.
  document.querySelectorAll("aside.notes mjx-assistive-mml").forEach((part) => part.remove());
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, minScale: 0.2, maxScale: 3, center: false, hash: true, slideNumber: "c/t",
    transition: "none", controls: false, plugins: [RevealNotes],
  });
  window.ready = true;
}

window.addEventListener("load", start);
