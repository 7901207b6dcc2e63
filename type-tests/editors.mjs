/**
 * The language services of the two compilers, as an editor uses them: `tsserver` of TypeScript 5.9 by its own protocol,
 * and TypeScript 7 by the language server protocol. Both open a file, replace its text, and complete at a position.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** A process that sends JSON messages with a header, as both protocols do. */
class MessageProcess {
  #process;
  #received = Buffer.alloc(0);
  #waiting = new Map();
  #onRequest;

  /** `onRequest` gets the messages that are no response. */
  constructor(args, folder, onRequest = () => {}) {
    this.#onRequest = onRequest;
    this.#process = spawn(process.execPath, args, { cwd: folder, stdio: ['pipe', 'pipe', 'ignore'] });
    this.#process.stdout.on('data', (chunk) => this.#read(chunk));
  }

  write(text) {
    this.#process.stdin.write(text);
  }

  response(id) {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  stop() {
    this.#process.kill();
  }

  #read(chunk) {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      const header = /^\s*Content-Length: (\d+)\r\n\r\n/.exec(this.#received.toString('latin1', 0, 64));
      const end = header === null ? Number.POSITIVE_INFINITY : header[0].length + Number(header[1]);
      if (this.#received.length < end) return;
      const message = JSON.parse(this.#received.toString('utf8', header[0].length, end));
      this.#received = this.#received.subarray(end);
      const id = message.request_seq ?? (message.method === undefined ? message.id : undefined);
      if (id === undefined) this.#onRequest(message);
      else this.#waiting.get(id)?.(message);
      this.#waiting.delete(id);
    }
  }
}

/** `tsserver`. Positions are counted from 1. */
export class TsServer {
  #server;
  #seq = 0;

  static async start(compiler, folder) {
    const editor = new TsServer();
    editor.#server = new MessageProcess(
      [join(compiler, 'lib/tsserver.js'), '--disableAutomaticTypingAcquisition'],
      folder,
    );
    return editor;
  }

  open(file, text) {
    this.#send('open', { file, fileContent: text });
  }

  replace(file, text, previous) {
    const lines = previous.split('\n');
    const end = { line: lines.length, offset: lines.at(-1).length + 1 };
    const textChanges = [{ start: { line: 1, offset: 1 }, end, newText: text }];
    this.#send('updateOpen', { changedFiles: [{ fileName: file, textChanges }] });
  }

  async complete(file, { line, column }) {
    const id = this.#send('completionInfo', { file, line: line + 1, offset: column + 1 });
    const { body } = await this.#server.response(id);
    return (body?.entries ?? []).map(({ name }) => name);
  }

  stop() {
    this.#server.stop();
  }

  #send(command, args) {
    this.#seq += 1;
    this.#server.write(`${JSON.stringify({ seq: this.#seq, type: 'request', command, arguments: args })}\n`);
    return this.#seq;
  }
}

/** The language server of TypeScript 7. Positions are counted from 0. */
export class LanguageServer {
  #server;
  #id = 0;
  #version = 1;

  static async start(compiler, folder) {
    const editor = new LanguageServer();
    editor.#server = new MessageProcess([join(compiler, 'bin/tsc'), '--lsp', '--stdio'], folder, (message) => {
      // It asks for settings, and to be told of changes of files; neither matters here.
      if (message.id !== undefined)
        editor.#write({ id: message.id, result: message.params?.items?.map(() => null) ?? null });
    });
    await editor.#request('initialize', {
      processId: process.pid,
      rootUri: pathToFileURL(folder).href,
      capabilities: { textDocument: { completion: {} } },
    });
    editor.#write({ method: 'initialized', params: {} });
    return editor;
  }

  open(file, text) {
    const textDocument = { uri: pathToFileURL(file).href, languageId: 'typescriptreact', version: 1, text };
    this.#write({ method: 'textDocument/didOpen', params: { textDocument } });
  }

  replace(file, text) {
    this.#version += 1;
    const textDocument = { uri: pathToFileURL(file).href, version: this.#version };
    this.#write({ method: 'textDocument/didChange', params: { textDocument, contentChanges: [{ text }] } });
  }

  async complete(file, { line, column }) {
    const textDocument = { uri: pathToFileURL(file).href };
    const position = { line, character: column };
    const { result } = await this.#request('textDocument/completion', { textDocument, position });
    return (result?.items ?? result ?? []).map(({ label }) => label);
  }

  stop() {
    this.#server.stop();
  }

  #request(method, params) {
    this.#id += 1;
    const response = this.#server.response(this.#id);
    this.#write({ id: this.#id, method, params });
    return response;
  }

  #write(message) {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message });
    this.#server.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }
}
