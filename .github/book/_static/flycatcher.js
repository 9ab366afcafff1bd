// What is too wide scrolls inside its own box; so that the keyboard can scroll it, it takes the focus.
const WIDE = "mjx-container[display='true'], pre, .output_html, .pst-scrollable-table-container";
const reachable = () => {
  for (const box of document.querySelectorAll(WIDE)) {
    if (box.scrollWidth > box.clientWidth + 1) box.setAttribute("tabindex", "0");
  }
};

// A figure is a link to its file; a click opens it large, in this page.
const enlargeable = () => {
  for (const image of document.querySelectorAll(".bd-article img")) {
    let link = image.closest("a"); // Sphinx makes one around a figure that is shown smaller than its file
    if ((link && !link.matches(".image-reference")) || image.naturalWidth < 300) continue;
    if (!link) {
      link = document.createElement("a");
      image.replaceWith(link);
      link.append(image);
    }
    link.href = image.src;
    link.classList.add("enlarge");
    link.title = "Enlarge";
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const dialog = document.createElement("dialog");
      dialog.className = "figure";
      dialog.setAttribute("aria-label", "Figure, enlarged");
      const large = new Image();
      large.src = image.src;
      large.alt = image.alt;
      const close = document.createElement("button");
      close.textContent = "Close";
      dialog.append(large, close);
      dialog.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => dialog.remove());
      document.body.append(dialog);
      dialog.showModal();
    });
  }
};

// The outline marks the section that is read, after a jump and upwards too (the theme's own waits for a heading to come
// in sight), and keeps it in view.
const following = () => {
  const outline = document.querySelector(".bd-sidebar-secondary");
  const links = outline ? [...outline.querySelectorAll(".toc-entry > a[href^='#']")] : [];
  const places = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  if (!places.some((place) => place)) return;
  const mark = () => {
    const above = places.map((place) => place && place.getBoundingClientRect().top < window.innerHeight / 4);
    const here = links[above.lastIndexOf(true)];
    for (const link of links) {
      const inside = here && (link === here || link.parentElement.contains(here));
      link.classList.toggle("active", link === here);
      link.parentElement.classList.toggle("active", Boolean(inside)); // shows the sections below it
      if (link === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (!here) return;
    const [inside, around] = [here.getBoundingClientRect(), outline.getBoundingClientRect()];
    if (inside.top < around.top + 40 || inside.bottom > around.bottom - 40) {
      outline.scrollTop += inside.top - around.top - around.height / 2;
    }
  };
  let soon;
  window.addEventListener("scroll", () => {
    clearTimeout(soon);
    soon = setTimeout(mark, 60); // after the theme
  });
  mark();
};

// From the search a reader arrives at the section that holds most of the words found, not at the top of a long page.
// (The theme loads the search in every page, so Sphinx leaves the marking of the words to us.)
const arriving = () => {
  const results = document.querySelector("#search-results");
  if (results) {
    const words = new URLSearchParams(location.search).get("q") || "";
    results.addEventListener("click", () => localStorage.setItem("sphinx_highlight_terms", words.toLowerCase()));
    return;
  }
  SphinxHighlight.highlightSearchWords();
  setTimeout(() => {
    // The page as a whole is no section; a word in a heading says more than one in the text.
    const words = [...document.querySelectorAll(".bd-article section section .highlighted")];
    const found = words.flatMap((word) => Array(word.closest("h2, h3, h4") ? 5 : 1).fill(word.closest("section")));
    const count = (section) => found.filter((one) => one === section).length;
    const best = found.sort((a, b) => count(b) - count(a))[0];
    if (!location.hash && best) best.scrollIntoView();
  }, 100);
};

window.addEventListener("load", () => {
  const typeset = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
  enlargeable();
  following();
  typeset.then(reachable).then(arriving);
  window.addEventListener("resize", reachable);
});
