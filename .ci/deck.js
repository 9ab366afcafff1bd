// Start a deck: reveal.js turns the Markdown into slides, then MathJax sets the formulas in them.
async function start() {
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, minScale: 0.2, maxScale: 3, center: false, display: "flex", viewDistance: 1000,
    hash: true, slideNumber: true, transition: "none", backgroundTransition: "none", controls: false,
    pdfSeparateFragments: false, plugins: [RevealMarkdown, RevealNotes],
  });
  for (const part of document.querySelectorAll(".tex")) {
    const { display, inline } = part.dataset;
    part.textContent = display ? `\\[${display}\\]` : `\\(${inline}\\)`;
  }
  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  // The window with the notes has no style that hides what is meant for screen readers.
  document.querySelectorAll("aside.notes mjx-assistive-mml").forEach((part) => part.remove());
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  window.ready = true;
}

window.addEventListener("load", start);
