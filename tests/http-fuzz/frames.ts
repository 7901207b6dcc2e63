/** Random WebSocket frames: sound ones, and such as a server must refuse (RFC 6455). */
import type { Random } from '../model/random.js';

const MESSAGES = [
  '{"type":"open","protocol":1,"queries":[{"id":1,"name":"fuzz.echo","args":{}}]}',
  '{"type":"change","add":[{"id":2,"name":"fuzz.echo","args":{"a":1}}],"remove":[1]}',
  ...[
    '{"type":"open","protocol":9,"queries":[]}',
    '{"type":"change","remove":[-1]}',
    '{"type":"open"}',
    '[]',
    '{',
    '',
    '\n',
    'null',
  ],
  ...[
    '{"type":"change","token":"\\ud800"}',
    `{"type":"open","protocol":1,"queries":[${'{"id":1,"name":"x"},'.repeat(300)}{"id":1,"name":"x"}]}`,
  ],
  ...[
    '['.repeat(5_000),
    `{"type":"change","add":[{"id":3,"name":"fuzz.echo","args":${'['.repeat(70)}${']'.repeat(70)}}]}`,
    'x'.repeat(70_000),
  ],
];
const OPCODES = {
  text: 1,
  binary: 2,
  continuation: 0,
  close: 8,
  ping: 9,
  pong: 10,
  reserved: 3,
  'reserved control': 11,
} as const;
const CLOSE_CODES = [1000, 1001, 0, 999, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 5000, 65_535];

interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly reserved: number;
  readonly isMasked: boolean;
  readonly payload: Buffer;
  /** How the length is written; other ways than the shortest are not allowed. */
  readonly length: 'shortest' | 'of 16 bits' | 'of 64 bits' | 'too long' | 'negative';
}

/** The bytes after an upgrade. Most begin with a message that opens the session. */
export function frameBytes(random: Random): Buffer {
  const frames = random.chance(0.8) ? [encode(random, sound(Buffer.from(MESSAGES[0] as string)))] : [];
  for (let n = 1 + random.below(8); n > 0; n--) frames.push(encode(random, frame(random)));
  const bytes = Buffer.concat(frames);
  if (random.chance(0.2)) return bytes.subarray(0, random.below(bytes.length + 1));
  if (random.chance(0.1)) bytes[random.below(bytes.length)] = random.below(256);
  return bytes;
}

function sound(payload: Buffer): Frame {
  return { opcode: OPCODES.text, isFinal: true, reserved: 0, isMasked: true, payload, length: 'shortest' };
}

function frame(random: Random): Frame {
  const text = Buffer.from(random.pick(MESSAGES));
  if (random.chance(0.4)) return sound(text);
  const kind = random.weighted({
    text: 3,
    binary: 1,
    continuation: 3,
    close: 1,
    ping: 2,
    pong: 1,
    reserved: 1,
    'reserved control': 1,
  });
  return {
    opcode: OPCODES[kind],
    isFinal: random.chance(0.7),
    reserved: random.chance(0.15) ? 1 + random.below(7) : 0,
    isMasked: random.chance(0.9),
    payload: kind === 'close' ? closing(random) : payload(random, text),
    length: random.chance(0.85)
      ? 'shortest'
      : random.pick(['of 16 bits', 'of 64 bits', 'too long', 'negative'] as const),
  };
}

function payload(random: Random, text: Buffer): Buffer {
  // Half of a character, bytes that are no UTF-8, and a surrogate: of control frames 126 bytes are too many.
  const odd = [
    [0xe2, 0x82],
    [0xff, 0xfe],
    [0xed, 0xa0, 0x80],
    [0xc0, 0x80],
    Array(126).fill(0x61),
    Array(125).fill(0x61),
    [],
  ];
  return random.chance(0.5) ? text : Buffer.from(random.pick(odd));
}

function closing(random: Random): Buffer {
  const code = Buffer.alloc(2);
  code.writeUInt16BE(random.pick(CLOSE_CODES));
  return random.pick([
    Buffer.alloc(0),
    Buffer.from([3]),
    code,
    Buffer.concat([code, Buffer.from([0xff])]),
    Buffer.concat([code, Buffer.from('bye')]),
  ]);
}

function encode(random: Random, { opcode, isFinal, reserved, isMasked, payload, length }: Frame): Buffer {
  const mask = Buffer.from(Array.from({ length: 4 }, () => random.below(256)));
  const first = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  const lengthBytes = (kind: number, size: number, write: (bytes: Buffer) => unknown): Buffer => {
    const bytes = Buffer.alloc(size);
    write(bytes);
    return Buffer.concat([Buffer.from([kind | (isMasked ? 0x80 : 0)]), bytes]);
  };
  const size = payload.length;
  const form = length === 'shortest' ? (size < 126 ? 'plain' : size < 65_536 ? 'of 16 bits' : 'of 64 bits') : length;
  const declared = {
    plain: () => lengthBytes(size, 0, () => {}),
    'of 16 bits': () => lengthBytes(126, 2, (bytes) => bytes.writeUInt16BE(Math.min(size, 65_535))),
    'of 64 bits': () => lengthBytes(127, 8, (bytes) => bytes.writeBigUInt64BE(BigInt(size))),
    'too long': () => lengthBytes(127, 8, (bytes) => bytes.writeBigUInt64BE(1n << 40n)),
    negative: () => lengthBytes(127, 8, (bytes) => bytes.writeBigUInt64BE((1n << 64n) - 1n)),
  }[form]();
  const masked = isMasked ? Buffer.from(payload.map((byte, at) => byte ^ (mask[at % 4] as number))) : payload;
  return Buffer.concat([Buffer.from([first]), declared, ...(isMasked ? [mask] : []), masked]);
}

/** What is wrong with the frames of a server, as Latin-1; `null` if nothing is. The last one may be cut off. */
export function faultOfFrames(received: string): string | null {
  let left = Buffer.from(received, 'latin1');
  while (left.length >= 2) {
    const [first, second] = [left[0] as number, left[1] as number];
    const opcode = first & 0x0f;
    if ((first & 0x70) !== 0 || (second & 0x80) !== 0) return 'a frame of the server is compressed or masked';
    if (![1, 8, 10].includes(opcode)) return `a frame of the server has the opcode ${opcode}`;
    const short = second & 0x7f;
    const start = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (left.length < start) return null;
    const size = short === 126 ? left.readUInt16BE(2) : short === 127 ? Number(left.readBigUInt64BE(2)) : short;
    if (left.length < start + size) return null;
    const content = left.subarray(start, start + size);
    const lines =
      opcode === 1
        ? content
            .toString()
            .split('\n')
            .filter((line) => line !== '')
        : [];
    for (const line of lines) {
      const { type, error } = JSON.parse(line) as { type: string; error?: { code: string } };
      if (typeof type !== 'string') return `a message of the server has no type: ${line}`;
      if (error?.code === 'INTERNAL') return `a message of the server is an internal error: ${line}`;
    }
    left = left.subarray(start + size);
  }
  return null;
}
