"use strict";
// Shows the OpenAPI document of the role that serves this page, with a form for each operation.

const element = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

// What the form says, as a request.
const request = (path, method, fields, body) => {
  const url = new URL(location.origin);
  const headers = {};
  url.pathname = path.replace(/\{(\w+)\}/g, (_, name) => {
    const field = fields.find((one) => one.in === "path" && one.name === name);
    return encodeURIComponent(field.input.value);
  });
  for (const { in: place, name, input } of fields) {
    if (input.value === "") continue;
    if (place === "query") url.searchParams.set(name, input.value);
    if (place === "header") headers[name] = input.value;
  }
  if (body) headers["Content-Type"] = "application/json";
  return [url, { method: method.toUpperCase(), headers, body: body?.value }];
};

const shown = (text) => {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

const form = (path, method, operation) => {
  const fields = operation.parameters.map((parameter) => {
    const input = element("input", { required: parameter.required === true });
    return { ...parameter, input };
  });
  const example = operation.requestBody?.content["application/json"].example;
  const body = operation.requestBody
    && element("textarea", { value: JSON.stringify(example, null, 2), spellcheck: false });
  const answer = element("pre", { hidden: true });
  const labels = fields.map(({ name, description, in: place, input }) => {
    const about = [place, description].filter(Boolean).join(": ");
    return element("label", {}, element("span", {}, element("code", {}, name), ` (${about})`), input);
  });
  if (body) labels.push(element("label", {}, "body", body));
  const made = element("form", {}, ...labels, element("button", {}, "Send"), answer);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.hidden = false;
    answer.textContent = "…";
    try {
      const response = await fetch(...request(path, method, fields, body));
      const text = await response.text();
      answer.textContent = `${response.status} ${response.statusText}\n${shown(text)}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  });
  return made;
};

const show = async () => {
  const { info, paths } = await (await fetch("help/openapi.json")).json();
  document.title = info.title;
  document.getElementById("title").textContent = `${info.title} ${info.version}`;
  const groups = new Map();
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const name = `${method.toUpperCase()} ${path}`;
      const head = element("summary", {}, element("code", {}, name), " ", element("span", {}, operation.summary),
        " ", element("small", {}, `needs ${operation["x-needs"]}`));
      const [tag] = operation.tags;
      groups.set(tag, [...(groups.get(tag) ?? []), element("details", {}, head, form(path, method, operation))]);
    }
  }
  const main = document.getElementById("paths");
  for (const [tag, entries] of [...groups].sort()) {
    main.append(element("h2", {}, `/${tag}`), ...entries);
  }
};

show();
