// The colours a note can have. What they look like is in style.css; a colour nobody here knows shows as plain.

export const COLOURS = ["plain", "amber", "rose", "violet", "sky", "sage"];

export const known = (colour) => (COLOURS.includes(colour) ? colour : "plain");
