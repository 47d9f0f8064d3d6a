// The statement as a command or a script that gives the same answer outside the page.

export function curl(origin: string, sql: string): string {
  const body = JSON.stringify({ sql });
  return [
    `curl -s ${shell(`${origin}/v1/sql`)}`,
    `-H 'content-type: application/json'`,
    `-d ${shell(body)}`,
  ].join(" \\\n  ");
}

/** One word for a POSIX shell. */
export function shell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function python(origin: string, sql: string): string {
  return `import json
import urllib.request

sql = ${literal(sql)}
request = urllib.request.Request(
    ${JSON.stringify(`${origin}/v1/sql`)},
    data=json.dumps({"sql": sql}).encode(),
    headers={"content-type": "application/json"},
)
with urllib.request.urlopen(request) as response:
    answer = json.load(response)

print(*[column["name"] for column in answer["columns"]], sep="\\t")
for row in answer["rows"]:
    print(*row, sep="\\t")
`;
}

/** A JSON string is a Python string too; a long statement becomes one string a line. */
function literal(sql: string): string {
  const lines = sql.split(/(?<=\n)/);
  if (lines.length < 2) return JSON.stringify(sql);
  return `(\n${lines.map((line) => `    ${JSON.stringify(line)}\n`).join("")})`;
}
