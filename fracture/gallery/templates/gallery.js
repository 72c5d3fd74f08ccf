"use strict";
// Pictures lie in the page as text. One becomes an image while its film is near what is seen, and is let go afterwards.
const films = [...document.querySelectorAll("article")];
const filters = document.getElementById("filters");
const shown = document.getElementById("shown");

const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    for (const figure of target.querySelectorAll("figure")) {
      const image = figure.querySelector("image");
      if (isIntersecting) image.setAttribute("href", "data:image/jpeg;base64," + figure.querySelector("script").textContent);
      else image.removeAttribute("href");
    }
  }
}, { rootMargin: "150% 0px" });
films.forEach((film) => near.observe(film));

function apply() {
  const kind = filters.kind.value;
  const region = filters.region ? filters.region.value : "";
  const name = filters.name.value.toLowerCase();
  let count = 0;
  for (const film of films) {
    const fits = (!kind || film.dataset.kind === kind)
      && (!region || film.dataset.regions.includes(" " + region + " "))
      && (!name || film.getAttribute("aria-label").toLowerCase().includes(name));
    film.hidden = !fits;
    count += fits;
  }
  document.body.classList.toggle("plain", !filters.boxes.checked);
  shown.textContent = count + (count === 1 ? " film shown" : " films shown");
}

// From a film to the next or the one before; from the page itself to the first film that is in sight.
function step(from, by) {
  const visible = films.filter((film) => !film.hidden);
  const next = from ? visible[visible.indexOf(from) + by] : visible.find((film) => film.getBoundingClientRect().top >= 0);
  if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
}

function open(film, wide) {
  films.forEach((other) => other.classList.toggle("open", other === film && wide));
  film.scrollIntoView({ block: "start" });
}

filters.addEventListener("input", apply);
filters.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("click", (event) => {
  const film = event.target.closest("svg") && event.target.closest("article");
  if (film) { film.focus(); open(film, !film.classList.contains("open")); }
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select")) return;
  const film = event.target.closest("article");
  const free = event.target === document.body; // no film, filter or button has the focus
  if (event.key === "b" || event.key === "B") { filters.boxes.checked = !filters.boxes.checked; apply(); }
  else if (free && (event.key === "ArrowRight" || event.key === "ArrowLeft")) { step(null, 1); event.preventDefault(); }
  else if (event.key === "Escape" && free) films.forEach((other) => other.classList.remove("open"));
  else if (!film) return;
  else if (event.key === "Enter") open(film, !film.classList.contains("open"));
  else if (event.key === "Escape") open(film, false);
  else if (event.key === "ArrowRight" || event.key === "ArrowDown") { step(film, 1); event.preventDefault(); }
  else if (event.key === "ArrowLeft" || event.key === "ArrowUp") { step(film, -1); event.preventDefault(); }
});
apply();
