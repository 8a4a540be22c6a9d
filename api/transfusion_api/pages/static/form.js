// A form made of a JSON Schema: a field for each property, written straight into a plain object.
import { element } from "./api.js";

// The schema behind references and "or null".
export function resolved(schema, root) {
  let found = schema;
  while (found.$ref) found = { ...root.$defs[found.$ref.split("/").pop()], default: found.default ?? undefined };
  const others = (found.anyOf ?? found.oneOf ?? []).filter((one) => one.type !== "null");
  if (others.length === 1) return { ...resolved(others[0], root), description: found.description, default: found.default };
  return found;
}

// What somebody typed: JSON, a list with commas, or a word.
export function typed(text) {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  try { return JSON.parse(trimmed); } catch { /* then it is a list or a word */ }
  return trimmed.includes(",") ? trimmed.split(",").map((part) => typed(part)).filter((part) => part !== undefined) : trimmed;
}

export const shown = (value) => {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value) && value.every((one) => one === null || typeof one !== "object")) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
};

export const words = (name) => name.replaceAll("_", " ");

function set(target, name, value) {
  if (value === undefined) delete target[name];
  else target[name] = value;
}

function input(name, schema, target, pointer, changed) {
  const id = `field${pointer.replaceAll("/", "-")}`;
  const attributes = { id, "data-pointer": pointer };
  const initial = target[name];
  if (schema.enum) {
    const options = [element("option", { value: "" }, schema.default === undefined || schema.default === null ? "" : `${shown(schema.default)} (default)`), ...schema.enum.map((one) => element("option", { value: one, selected: one === initial }, one))];
    const select = element("select", attributes, ...options);
    select.addEventListener("change", () => changed(set(target, name, select.value || undefined)));
    return select;
  }
  if (schema.type === "boolean") {
    const box = element("input", { ...attributes, type: "checkbox", checked: initial ?? schema.default ?? false });
    box.addEventListener("change", () => changed(set(target, name, box.checked)));
    return box;
  }
  const isNumber = schema.type === "integer" || schema.type === "number";
  const placeholder = schema.default === undefined || schema.default === null ? "" : shown(schema.default);
  const field = element("input", { ...attributes, type: "text", inputmode: isNumber ? "decimal" : null, value: shown(initial), placeholder, size: isNumber ? 10 : 36 });
  const isList = schema.type === "array" || schema.items;
  field.addEventListener("input", () => {
    const text = schema.type === "string" ? field.value || undefined : typed(field.value);
    changed(set(target, name, isList && text !== undefined && !Array.isArray(text) ? [text] : text));
  });
  return field;
}

function choices(name, schema, target, pointer, changed) {
  const chosen = new Set(target[name] ?? schema.default ?? []);
  const boxes = schema.items.enum.map((one) => element("label", {}, element("input", { type: "checkbox", value: one, checked: chosen.has(one), onchange: (event) => {
    if (event.target.checked) chosen.add(one);
    else chosen.delete(one);
    changed(set(target, name, schema.items.enum.filter((each) => chosen.has(each))));
  } }), ` ${words(one)}`));
  return element("fieldset", { class: "choices", "data-pointer": pointer }, element("legend", {}, words(name)), ...boxes);
}

// One property; an object becomes a group of its own, folded unless it is in `open`.
export function field(name, given, root, target, pointer, changed, { hint = true } = {}) {
  const schema = resolved(given, root);
  const items = schema.items && resolved(schema.items, root);
  if (items?.enum) return choices(name, { ...schema, items }, target, pointer, changed);
  if (schema.type === "object" && schema.properties) return group(name, schema, root, target, pointer, changed);
  const made = input(name, schema, target, pointer, changed);
  const told = hint && schema.description ? element("span", { class: "hint" }, schema.description.replaceAll("`", "")) : null;
  return element("div", { class: "field" }, element("label", { for: made.id }, words(name)), made, told);
}

export function group(name, schema, root, target, pointer, changed, leaveOut = new Set()) {
  const inner = target[name] ?? {};
  const grown = () => changed(set(target, name, Object.keys(inner).length ? inner : undefined));
  const fields = Object.entries(schema.properties).filter(([one]) => !leaveOut.has(one)).map(([one, part]) => field(one, part, root, inner, `${pointer}/${one}`, grown));
  return element("details", { class: "panel" }, element("summary", {}, words(name)), element("div", { class: "row start" }, ...fields));
}
