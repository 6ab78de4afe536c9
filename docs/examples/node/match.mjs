// An upload pipeline's side of hashmatch.v1.MatchService.
//
//   node match.mjs match FILE          one request, judged before anybody can see the file
//   node match.mjs stream FILE…        many over one stream, at most WINDOW of them unanswered
//   node match.mjs upload FILE         one large file, in chunks
//
// Exit code: 0 nothing matched, 1 something matched, 3 something is unknown or was not judged.
import { randomUUID } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const { HASHMATCH_SERVER = '127.0.0.1:50051', HASHMATCH_CA, HASHMATCH_KEY_FILE, HASHMATCH_PROTO_INCLUDE } = process.env;
const DEADLINE = 30_000; // ms for one item, retries included; the server answers within 5 s
const WINDOW = 8; // unanswered requests in a stream: as much media as this is held at both ends
const CHUNK = 256 << 10; // bytes
const { RESOURCE_EXHAUSTED, UNAVAILABLE } = grpc.status;

// match.proto imports google/rpc/status.proto, which no package here ships: the README says where to point this.
if (!HASHMATCH_PROTO_INCLUDE) throw new Error('HASHMATCH_PROTO_INCLUDE: name the directory that holds google/rpc');
const protos = protoLoader.loadSync(['hashmatch/v1/match.proto', 'google/rpc/error_details.proto'], {
  includeDirs: [fileURLToPath(new URL('../../../proto', import.meta.url)), HASHMATCH_PROTO_INCLUDE],
  keepCase: true, longs: String, enums: String, defaults: true, oneofs: true, // absent enums read …_UNSPECIFIED
});
const { MatchService } = grpc.loadPackageDefinition(protos).hashmatch.v1;
const Status = protos['google.rpc.Status'], RetryInfo = protos['google.rpc.RetryInfo'];

// A lost connection is retried by gRPC itself (as is safe: a request_id is judged once); overload is retried below,
// since only the server knows when there will be room. Several servers behind one name take turns.
const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{
    name: [{ service: 'hashmatch.v1.MatchService' }],
    retryPolicy: {
      maxAttempts: 5, initialBackoff: '0.1s', maxBackoff: '2s', backoffMultiplier: 2,
      retryableStatusCodes: ['UNAVAILABLE'],
    },
  }],
};
if (!HASHMATCH_CA && !/^(127\.|localhost:|\[::1\])/.test(HASHMATCH_SERVER)) {
  throw new Error('without HASHMATCH_CA only a server on loopback is spoken to');
}
const client = new MatchService(
  HASHMATCH_SERVER,
  HASHMATCH_CA ? grpc.credentials.createSsl(await readFile(HASHMATCH_CA)) : grpc.credentials.createInsecure(),
  { 'grpc.service_config': JSON.stringify(serviceConfig), 'grpc.per_rpc_retry_buffer_size': 64 << 20 },
);
const key = HASHMATCH_KEY_FILE && (await readFile(HASHMATCH_KEY_FILE, 'utf8')).trim();

/** Sent with every call. Never logged: who has the key is the caller. */
function metadata() {
  const sent = new grpc.Metadata();
  if (key) sent.set('authorization', `Bearer ${key}`);
  return sent;
}

/** Milliseconds after which to ask again: what the server advises, else twice as long each time; never in step. */
function pause(details, attempt) {
  const advice = details.find((any) => any.type_url.endsWith('/google.rpc.RetryInfo'));
  const { retry_delay } = advice ? RetryInfo.deserialize(advice.value) : {};
  const ms = retry_delay ? Number(retry_delay.seconds) * 1000 + retry_delay.nanos / 1e6 : 100 * 2 ** attempt;
  return ms * (1 + Math.random() / 2);
}

/** The answer of `call(deadline)`, asked again while the server is overloaded or away. Every other error is thrown. */
async function judged(call) {
  const deadline = Date.now() + DEADLINE;
  for (let attempt = 0; ; attempt++) {
    try {
      return await call(deadline);
    } catch (error) {
      if (error.code !== RESOURCE_EXHAUSTED && error.code !== UNAVAILABLE) throw error;
      const [status] = error.metadata?.get('grpc-status-details-bin') ?? [];
      const ms = pause(status ? Status.deserialize(status).details : [], attempt);
      if (Date.now() + ms >= deadline) throw error; // a day's budget comes back at midnight, for one
      await sleep(ms);
    }
  }
}

/** One item in one message. */
const match = (request) => judged((deadline) => new Promise((resolve, reject) => {
  client.Match(request, metadata(), { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
}));

/** One large file: a header with everything but the media, then the media in chunks, never whole in memory. */
const upload = (path, header) => judged(async (deadline) => {
  const file = await open(path); // anew for every attempt
  async function* parts() {
    yield { header };
    for await (const chunk of file.createReadStream({ highWaterMark: CHUNK })) yield { chunk };
  }
  return new Promise((resolve, reject) => {
    const call = client.MatchUpload(metadata(), { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
    pipeline(Readable.from(parts()), call).catch(() => call.cancel()); // where the server ended it, its answer stands
  }).finally(() => file.close());
});

/** Many items over one stream: answers come as they are ready, each by its request_id. What gets none is asked singly. */
async function stream(paths) {
  const waiting = [...paths], unanswered = new Map(); // request_id → path, of what is in flight
  const again = []; // [request_id, path] of what the stream gave no verdict on
  const call = client.MatchStream(metadata(), { deadline: Date.now() + DEADLINE + 1000 * paths.length });
  async function send() {
    while (waiting.length && unanswered.size < WINDOW) {
      const path = waiting.shift(), request_id = randomUUID();
      unanswered.set(request_id, path);
      call.write({ request_id, media: await readFile(path), subject: { content_id: path } });
    }
    if (!waiting.length && !unanswered.size) call.end();
  }
  call.on('error', () => {}); // the loop below is told too
  try {
    await send();
    for await (const { request_id, outcome, response, error } of call) {
      const path = unanswered.get(request_id);
      unanswered.delete(request_id);
      if (outcome === 'response') act(path, response);
      else if (error.code === RESOURCE_EXHAUSTED || error.code === UNAVAILABLE) again.push([request_id, path]);
      else hold(path, request_id, `${grpc.status[error.code]} ${error.message}`);
      await send();
    }
  } catch (error) {
    call.cancel(); // broken, or a file could not be read
    console.error(`the stream ended early: ${error.message}`);
  }
  again.push(...unanswered, ...waiting.map((path) => [randomUUID(), path]));
  for (const [request_id, path] of again) await attempt(path, request_id, single); // the same id: judged once
}

/** What policy asks for. In earnest this moves the upload; UNKNOWN never means NO_MATCH. */
function act(path, { request_id, finding, disposition, matches, hashed }) {
  console.log(`${path} ${request_id} ${finding} ${disposition}`);
  if (finding === 'FINDING_MATCH') {
    process.exitCode = 1;
    for (const { list, label, hash_type, distance } of matches) console.log(`  ${list} ${label || '-'} ${hash_type} ${distance}`);
  } else if (finding !== 'FINDING_NO_MATCH') {
    process.exitCode ||= 3; // held, until a person or a later try decides
    for (const { hash_type, unhashable } of hashed) if (!/_UNSPECIFIED$/.test(unhashable)) console.log(`  ${hash_type} ${unhashable}`);
  }
}

/** Every error means "not judged": the upload is held, and asked about again later with the same request_id. */
function hold(path, request_id, why) {
  console.log(`${path} ${request_id} NOT_JUDGED ${why}`);
  process.exitCode ||= 3;
}

async function attempt(path, request_id, how) {
  try {
    act(path, await how(path, request_id));
  } catch (error) {
    hold(path, request_id, error.message);
  }
}

const single = async (path, request_id) => match({ request_id, media: await readFile(path), subject: { content_id: path } });
const chunked = (path, request_id) => upload(path, { request_id, subject: { content_id: path } });

// A request_id is yours for one upload: made once, stored with it, the same on every retry. Never a hash of the media.
const [verb, ...paths] = process.argv.slice(2);
if (verb === 'match') for (const path of paths) await attempt(path, randomUUID(), single);
else if (verb === 'upload') for (const path of paths) await attempt(path, randomUUID(), chunked);
else if (verb === 'stream') await stream(paths);
else throw new Error('usage: node match.mjs match|stream|upload FILE…');
client.close();
