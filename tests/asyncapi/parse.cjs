// Reads {name: document} from standard input and writes {name: {parsed, diagnostics}}. All in one process, because the
// parser takes longer to start than to parse. Its folder is the only argument.
const { Parser } = require(require.resolve("@asyncapi/parser", { paths: [process.argv[2]] }));
const { readFileSync } = require("node:fs");

async function main() {
  const parser = new Parser();
  const judged = {};
  for (const [name, document] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
    const { document: parsed, diagnostics } = await parser.parse(JSON.stringify(document));
    judged[name] = {
      parsed: parsed !== undefined,
      diagnostics: diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path, message })),
    };
  }
  process.stdout.write(JSON.stringify(judged));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
