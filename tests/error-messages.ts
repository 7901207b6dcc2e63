/**
 * Checks that the messages of errors are sentences, by the rule in `CONTRIBUTING.md`. Pure: it takes the texts of files,
 * so that a test can pass violations. It reads the literals where messages are made, and not what is inserted into them
 * at run time.
 */
import type { SourceFile } from './dependencies.js';

interface Message {
  /** The literal, with its placeholders. */
  readonly text: string;
  /** What precedes it: a constructor, a function, a variable. */
  readonly maker: string;
  /** Nothing is appended to the literal. */
  readonly isWhole: boolean;
}

/** What precedes a message in Rust: constructors, the functions that call them, variables, and the text of a type. */
const RUST = new RegExp(
  [
    String.raw`(Failure::new)\(\s*(?:Code::\w+|code),`,
    String.raw`(Fault)::(?:lasting|passing)\(\s*"[\w-]+",`,
    String.raw`\b(TransferError::Refused|invalid|refused|unavailable|outcome_unknown)\(`,
    String.raw`(\blet (?:message|what)|\.message) =`,
    String.raw`#\[(error)\(`,
  ]
    .map((start) => String.raw`${start}\s*(?:&?format!\(\s*)?(?=")`)
    .join('|'),
  'g',
);
const TYPESCRIPT =
  /(?:new ((?:Type|Range)?Error)\(|\b(ConvoyError|convoyError)\(\s*(?:'\w+'|[\w.]+),|\b(invalid|unauthorized|unavailable|endedByProtocolError|exchange\.fail)\()\s*(?=['"`])/g;

/** Only the beginning of a message; the end is added elsewhere. `invalid` of TypeScript adds the period itself. */
const BEGINNINGS = new Set(['Fault', 'let what', 'outcome_unknown']);

/** Files with texts of these forms that are no messages, or that stand inside of one. */
const EXEMPT = [
  // Reasons, which stand after a colon.
  'crates/convoy/src/postgres/address.rs',
  'crates/convoy-node/src/host.rs',
  'js/convoy/src/cli/data/doctor-url.ts',
  'js/convoy-auth/src/jwt/fetch-json.ts',
  'js/convoy-auth/src/jwt/key-set.ts',
  'js/convoy-auth/src/jwt/remote-keys.ts',
  'js/convoy/src/sql/drizzle.ts',
  // The findings of a comparison.
  'crates/convoy/src/postgres/schema_sync/',
];
/** The text of its error type is a cause, for the log; the messages are made from it by `Failure::new`. */
const CAUSES = 'crates/convoy/src/postgres/error.rs';

/** A capital letter; or code, a value, an option, a path of properties, a call, a label, a name in camelCase. */
const BEGINNING = /^(?:[A-Z]|\\?[`'"]|\$?\{|--|[a-z]\w*(?:[.(:]|`)|[a-z]+[A-Z])/;
/** Names of other forms. */
const NAME = /^(?:convoy dev|ctx|esbuild|raw|sql|workers)\b/;
/** A period or a question mark, or what can be copied: a command, or code that ends with a bracket or a semicolon. */
const ENDING = /(?:[.?]|\bnpx [\w -]+|\bcreate-convoy-app my-app|[;}] ?\)?)$/;
/** In TypeScript: a text that is not the project's, or sentences, after a colon, a period or a line break. */
const INSERTED_END = /(?:[.:] |\\n|[\w)]: )\$\{[^}]*(?:\}[^}]*)?\}$/;
/** In Rust: nothing but a placeholder, or the text that a function has thrown. */
const INSERTED = /^(?:\{\w*\}|`\{\}` threw: \{\})$/;

/** The messages that a file makes. */
export function messagesIn({ path, text }: SourceFile): Message[] {
  if (EXEMPT.some((exempt) => path.startsWith(exempt))) return [];
  const isRust = path.endsWith('.rs');
  const code = isRust ? text.split(/#\[cfg\(test\)\]\s+(?:pub(?:\(\w+\))? )?mod \w+ \{/)[0] : text;
  const found = [...(code ?? '').matchAll(isRust ? RUST : TYPESCRIPT)].map((match) => {
    const maker = match.slice(1).find((group) => group !== undefined) ?? '';
    return { maker, ...literalAt(code ?? '', match.index + match[0].length) };
  });
  return found.filter(({ maker }) => path !== CAUSES || maker !== 'error');
}

/** The messages of a file that break the rule, each with what is wrong. */
export function badMessages(file: SourceFile): string[] {
  const isRust = file.path.endsWith('.rs');
  return messagesIn(file).flatMap((message) => {
    const faults = [
      ...(BEGINNING.test(message.text) || NAME.test(message.text) ? [] : ['begins in lower case']),
      ...(isRust ? faultsOfRustEnd(message) : faultsOfTypeScriptEnd(message)),
    ];
    return faults.map((fault) => `${file.path}: ${fault}: ${message.text}`);
  });
}

function faultsOfRustEnd({ text, maker }: Message): string[] {
  return BEGINNINGS.has(maker) || (ENDING.test(text) && !/\{[^}]*\}$/.test(text)) || INSERTED.test(text)
    ? []
    : ['has no period'];
}

function faultsOfTypeScriptEnd({ text, maker, isWhole }: Message): string[] {
  if (!isWhole) return [];
  if (maker === 'invalid') return /[.?]$/.test(text) ? ['has two periods'] : [];
  const isInserted = /\$\{[^}]*(?:\}[^}]*)?\}$/.test(text);
  return (isInserted ? INSERTED_END : ENDING).test(text) ? [] : ['has no period'];
}

/** The literal at `start`, with those that `+` appends to it. */
function literalAt(code: string, start: number): Pick<Message, 'text' | 'isWhole'> {
  let text = '';
  for (let at = start; ; ) {
    const end = endOfLiteral(code, at);
    text += code.slice(at + 1, end - 1).replace(/\\\n\s*/g, '');
    const next = /^\s*\+\s*(?=['"`])/.exec(code.slice(end, end + 200));
    if (next === null) return { text, isWhole: /^\s*[,)]/.test(code.slice(end, end + 200)) };
    at = end + next[0].length;
  }
}

/** The position after the closing quote. */
function endOfLiteral(code: string, start: number): number {
  const quote = code[start];
  let depth = 0;
  for (let at = start + 1; at < code.length; at += 1) {
    if (code[at] === '\\') at += 1;
    else if (code[at] === quote && depth === 0) return at + 1;
    else if (quote === '`' && code.startsWith('${', at)) depth += 1;
    else if (depth > 0 && code[at] === '}') depth -= 1;
  }
  return code.length;
}
