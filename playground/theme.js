// Runs before the first paint, so that a page that was made dark does not flash in white. Modules would run later.
try {
  if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
} catch {} // a browser that keeps nothing
