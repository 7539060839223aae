let strings = {};

export async function setLanguage(language) {
  const answer = await fetch(`data/strings.${language}.json`);
  strings = await answer.json();
  document.documentElement.lang = language;
  document.querySelectorAll("[data-string]").forEach((el) => { el.textContent = speak(el.dataset.string); });
  document.querySelectorAll("[data-string-placeholder]").forEach((el) => { el.placeholder = speak(el.dataset.stringPlaceholder); });
}

export function speak(key) { return strings[key] || key; }
