// Colours that keep their meaning: a client's colour follows from its id alone, in every chart and every run.
const PALETTE = 7; // --series-1 .. --series-7 in tokens.css, told apart with the common kinds of colour blindness
const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];

export function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A client's place in the palette: the number its id ends with, else a hash of the id. */
export function placeOf(client) {
  const number = /(\d+)$/.exec(client);
  if (number) return Number(number[1].slice(-6));
  let hash = 7;
  for (const letter of client) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  return hash;
}

/** Colour and dash: the eighth client has the first colour again, but dashed. */
export function lineOf(place) {
  return { token: `--series-${(place % PALETTE) + 1}`, dash: DASHES[Math.floor(place / PALETTE) % DASHES.length] };
}

export const classToken = (index) => `--class-${(index % 10) + 1}`;
