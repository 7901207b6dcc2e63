/** A server that speaks as much of Postgres' protocol as a client needs to learn its version, which is 13. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

const SSL_REQUEST = 80_877_103;
const [TEXT, INT4] = [25, 23];

/** Starts it on a free port of the loopback address. */
export async function startOldPostgres(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer(converse).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

function converse(socket: Socket): void {
  let unread = Buffer.alloc(0);
  let hasBegun = false;
  // The engine closes the connection as soon as it knows the version.
  socket.on('error', () => socket.destroy());
  socket.on('data', (data) => {
    unread = Buffer.concat([unread, data]);
    for (;;) {
      // The first messages have no type.
      const typeBytes = hasBegun ? 1 : 0;
      if (unread.length < typeBytes + 4) return;
      const end = typeBytes + unread.readInt32BE(typeBytes);
      if (unread.length < end) return;
      const [whole, type] = [unread.subarray(0, end), hasBegun ? String.fromCharCode(unread[0] ?? 0) : ''];
      unread = unread.subarray(end);
      if (!hasBegun && whole.readInt32BE(4) === SSL_REQUEST) {
        socket.write('N');
      } else if (!hasBegun) {
        hasBegun = true;
        socket.write(
          Buffer.concat([message('R', int32(0)), message('S', text('server_version'), text('13.11')), ready]),
        );
      } else if (type === 'Q') {
        socket.write(version);
      } else if (type === 'X') {
        socket.end();
      }
    }
  });
}

const int16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const int32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};
const text = (value: string) => Buffer.from(`${value}\0`);

function message(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

const ready = message('Z', Buffer.from('I'));

const column = (name: string, type: number) =>
  Buffer.concat([text(name), int32(0), int16(0), int32(type), int16(-1), int32(-1), int16(0)]);

const field = (value: string) => Buffer.concat([int32(value.length), Buffer.from(value)]);

/** The answer to the only query that the engine sends before it refuses the version. */
const version = Buffer.concat([
  message('T', int16(3), column('isolation', TEXT), column('number', INT4), column('name', TEXT)),
  message('D', int16(3), field('serializable'), field('130011'), field('13.11')),
  message('C', text('SELECT 1')),
  ready,
]);
