// The form of a function, from the JSON schema of its input.

/**
 * A field of the form.
 *
 * @typedef {{ element: HTMLElement, read: () => unknown }} Field `read` returns `undefined` where nothing was entered,
 *   and throws an Error for what cannot be read.
 */

/**
 * The fields of an input, or one field for all of it if it is not a plain object.
 *
 * @param {any} schema
 * @returns {{ element: HTMLElement, read: () => unknown }}
 */
export function formOf(schema) {
  if (schema.type !== 'object' || schema.properties === undefined)
    return jsonField('input', 'Input as JSON', true, '{}');
  const element = document.createElement('div');
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties).map(([name, property]) => {
    const field = fieldOf(name, property, required.has(name));
    element.append(field.element);
    return [name, field];
  });
  if (fields.length === 0) element.append(text('p', 'It takes no input.', 'hint'));
  const read = () => {
    const values = fields.map(([name, field]) => [name, field.read()]);
    return Object.fromEntries(values.filter(([, value]) => value !== undefined));
  };
  return { element, read };
}

/**
 * @param {string} name
 * @param {any} schema
 * @param {boolean} isRequired
 * @returns {Field}
 */
function fieldOf(name, schema, isRequired) {
  const options = schema.enum ?? (schema.type === 'boolean' ? [true, false] : undefined);
  if (options !== undefined) return choiceField(name, schema, isRequired, options);
  if (schema.type === 'number' || schema.type === 'integer') return numberField(name, schema, isRequired);
  if (schema.type === 'string') return textField(name, schema, isRequired);
  return jsonField(name, `${schema.type ?? 'any'}, as JSON`, isRequired, '');
}

function choiceField(name, schema, isRequired, options) {
  const select = document.createElement('select');
  if (!isRequired) select.append(new Option('', ''));
  for (const [at, option] of options.entries()) select.append(new Option(String(option), String(at)));
  return {
    element: labelled(name, typeOf(schema), isRequired, select),
    read: () => options[Number(select.value || -1)],
  };
}

function numberField(name, schema, isRequired) {
  const input = document.createElement('input');
  input.inputMode = 'decimal';
  input.required = isRequired;
  const read = () => {
    if (input.value.trim() === '') return undefined;
    const number = Number(input.value);
    if (!Number.isFinite(number)) throw new Error(`${name} is not a number.`);
    return number;
  };
  return { element: labelled(name, typeOf(schema), isRequired, input), read };
}

function textField(name, schema, isRequired) {
  const input = document.createElement('input');
  input.autocomplete = 'off';
  if (typeof schema.default === 'string') input.placeholder = schema.default;
  // An optional text that is empty counts as not given.
  const read = () => (input.value === '' && !isRequired ? undefined : input.value);
  return { element: labelled(name, typeOf(schema), isRequired, input), read };
}

function jsonField(name, type, isRequired, start) {
  const area = document.createElement('textarea');
  area.value = start;
  area.spellcheck = false;
  const read = () => {
    if (area.value.trim() === '' && !isRequired) return undefined;
    try {
      return JSON.parse(area.value);
    } catch (error) {
      throw new Error(`${name} is not JSON: ${error.message}`);
    }
  };
  return { element: labelled(name, type, isRequired, area), read };
}

function typeOf(schema) {
  return schema.type ?? 'any';
}

function labelled(name, type, isRequired, control) {
  const label = document.createElement('label');
  control.name = name;
  label.append(`${name} `, text('span', isRequired ? type : `${type}, optional`, 'type'), control);
  return label;
}

/** An element with text. */
export function text(tag, content, className = '') {
  const element = document.createElement(tag);
  element.textContent = content;
  if (className !== '') element.className = className;
  return element;
}
