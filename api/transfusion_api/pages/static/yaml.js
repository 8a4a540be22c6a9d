// A spec as YAML: block style, with every text that YAML might read otherwise in JSON's quotes, which YAML takes.

const PLAIN = /^[A-Za-z_][A-Za-z0-9_ @./()-]*$/;
const OTHERWISE = /^(y|n|yes|no|on|off|true|false|null|nan|inf)$/i;

function scalar(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  return PLAIN.test(value) && !OTHERWISE.test(value) && value === value.trim() ? value : JSON.stringify(value);
}

const isEmpty = (value) => Object.keys(value).length === 0;
const isScalar = (value) => value === null || typeof value !== "object";

export function toYaml(value, indent = "") {
  if (isScalar(value)) return scalar(value);
  if (isEmpty(value)) return Array.isArray(value) ? "[]" : "{}";
  if (Array.isArray(value)) {
    if (value.every(isScalar)) return `[${value.map(scalar).join(", ")}]`;
    return value.map((item) => `\n${indent}- ${toYaml(item, `${indent}  `).replace(/^\n\s*/, "")}`).join("");
  }
  return Object.entries(value).map(([name, item]) => {
    const written = toYaml(item, `${indent}  `);
    return `\n${indent}${scalar(name)}:${written.startsWith("\n") ? "" : " "}${written}`;
  }).join("");
}
