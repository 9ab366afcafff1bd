// A formula or a block that is too wide scrolls inside its own box; so that the keyboard can scroll it, it takes the focus.
const reachable = () => {
  for (const box of document.querySelectorAll("mjx-container[display='true'], pre, .output_html, .pst-scrollable-table-container")) {
    if (box.scrollWidth > box.clientWidth + 1) box.setAttribute("tabindex", "0");
  }
};
window.addEventListener("load", () => {
  const typeset = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
  typeset.then(reachable);
  window.addEventListener("resize", reachable);
});
