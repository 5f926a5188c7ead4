// How each kind of scenario is set up for one peer, and what one round of it measures.
// A contestant lives for all rounds of its scenario: `round(ms)` returns the round's figures, `stop()` ends its processes.
// Invariant: a round whose frames do not add up, or that lost a connection, is no round.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { Failure } from '../scripts/run.mjs';
import { memoryOf, processorOf } from './measure.mjs';
import { protocolOf } from './processes.mjs';
import { peers } from './scenarios.mjs';

const KIB = 1024;
const MIB = 1024 * KIB;
const PATIENCE_MS = 60_000;
/** After the last connection has come: what the hub does a little later belongs to it. */
const SETTLE_MS = 500;
/** As in hubs/serve.mjs. */
const RESOLUTION_MS = 10;

export const contestants = { fanOut, relay, trip, flooded, idle, inbound, inProcess };

// ---- Fan-out -------------------------------------------------------------------------------------------------------------------

async function fanOut(launcher, peer, load) {
  const crowd = await gather(launcher, peer, load);
  const { hub } = crowd;
  await ask(hub, peer, 'credit', { address: crowd.readers.hello.credit });
  const round = async (ms) => {
    const { result, figures } = await watched(hub, peer, () => publish(hub, peer, load, ms));
    await crowd.checkCounts(result.sent);
    return { ...perDelivery(load, result, figures), ...crowd.memory() };
  };
  return { round, stop: crowd.stop };
}

function publish(hub, peer, { window, burst, perSecond, topics }, ms) {
  return peers[peer].bare === undefined
    ? hub.ask({ command: 'publish', window, burst, perSecond, topics, ms })
    : hub.ask(`publish ${window} ${burst} ${perSecond} ${ms}`);
}

async function relay(launcher, peer, load) {
  const crowd = await gather(launcher, peer, { ...load, topics: 1 });
  const protocol = protocolOf(peer);
  const publisher = await launcher.rust('publisher', 'publish', crowd.address, protocol, crowd.readers.hello.credit);
  const round = async (ms) => {
    const work = () => publisher.ask(`publish ${load.window} 1 t ${ms}`);
    const { result, figures } = await watched(crowd.hub, peer, work);
    await crowd.checkCounts(result.sent);
    return { ...perDelivery({ ...load, topics: 1 }, result, figures), ...crowd.memory() };
  };
  return { round, stop: () => Promise.all([crowd.stop(), publisher.stop()]) };
}

function perDelivery({ connections, topics }, { sent, ms, dispatchUs, dispatchCpuUs }, { hubNs, jsNs, ...delays }) {
  const deliveries = (sent * connections) / topics;
  return {
    perSecond: (deliveries / ms) * 1000,
    hubUs: hubNs / 1000 / deliveries,
    ...(dispatchUs === undefined ? {} : { dispatchUs }),
    ...(dispatchCpuUs === undefined ? {} : { dispatchCpuUs }),
    jsUsPerEvent: jsNs / 1000 / sent,
    jsBusyPercent: jsNs / ms / 1e4,
    ...delays,
  };
}

// ---- Round trips ---------------------------------------------------------------------------------------------------------------

async function trip(launcher, peer, { mode, depth }) {
  const hub = await launcher.hub(peer);
  const traveller = await travellerTo(launcher, peer, hub, mode, depth);
  const round = async (ms) => {
    const { result, figures } = await watched(hub, peer, () => traveller.go(ms));
    return perTrip(result, figures);
  };
  return { round, stop: () => Promise.all([hub.stop(), traveller.stop()]) };
}

async function travellerTo(launcher, peer, hub, mode, depth) {
  const { address } = hub.hello;
  const isOurs = mode !== 'clients';
  const child = isOurs
    ? await launcher.rust('traveller', 'trip', address, protocolOf(peer), mode, depth)
    : await launcher.client(peer, address, depth);
  await subscribed(hub, peer, 'bench:answer', 1);
  return {
    go: (ms) => child.ask(isOurs ? `trip ${ms}` : { command: 'trip', ms }),
    stop: () => child.stop(),
  };
}

function perTrip({ trips, ms, p50us, p99us }, { hubNs, jsNs, ...delays }) {
  const [hubUs, jsUsPerEvent] = [hubNs, jsNs].map((ns) => ns / 1000 / trips);
  return { perSecond: (trips / ms) * 1000, p50us, p99us, hubUs, jsUsPerEvent, ...delays };
}

/** Round trips while the hub publishes to a crowd. */
async function flooded(launcher, peer, load) {
  const crowd = await gather(launcher, peer, load);
  const { hub } = crowd;
  await ask(hub, peer, 'credit', { address: crowd.readers.hello.credit });
  const traveller = await travellerTo(launcher, peer, hub, 'answer', load.depth);
  const round = async (ms) => {
    const work = async () => {
      // The trips begin and end within the flood.
      const flood = publish(hub, peer, load, ms);
      const trips = await traveller.go(ms * 0.9);
      return { trips, flood: await flood };
    };
    const { result, figures } = await watched(hub, peer, work);
    await crowd.checkCounts(result.flood.sent);
    const { p50us, p99us, trips } = result.trips;
    return { ...perDelivery(load, result.flood, figures), p50us, p99us, trips };
  };
  return { round, stop: () => Promise.all([crowd.stop(), traveller.stop()]) };
}

// ---- Memory, inbound, in process -----------------------------------------------------------------------------------------------

/** Fresh processes for each round: an allocator gives little back. */
async function idle(launcher, peer, load) {
  const round = async () => {
    const crowd = await gather(launcher, peer, { window: 4, topics: 1, ...load });
    const figures = crowd.memory();
    await crowd.stop();
    return figures;
  };
  return { round, stop: async () => {}, isFresh: true };
}

async function inbound(launcher, peer, { ids, window }) {
  const hub = await launcher.hub(peer);
  const { credit } = await ask(hub, peer, 'inbound', { ids, window });
  const publisher = await launcher.rust('publisher', 'publish', hub.hello.address, protocolOf(peer), credit);
  const round = async (ms) => {
    const work = () => publisher.ask(`publish ${window} ${ids} ${ids > 0 ? 'in' : 'k'} ${ms}`);
    const { result, figures } = await watched(hub, peer, work);
    const { hubNs, jsNs, ...delays } = figures;
    const [hubUs, jsUsPerEvent] = [hubNs, jsNs].map((ns) => ns / 1000 / result.sent);
    return { perSecond: (result.sent / result.ms) * 1000, hubUs, jsUsPerEvent, ...delays };
  };
  return { round, stop: () => Promise.all([hub.stop(), publisher.stop()]) };
}

async function inProcess(launcher, peer, { burst }) {
  const child = await launcher.inProcess(peer);
  const round = async (ms) => {
    const { events, ms: took } = await child.ask({ command: 'run', burst, ms });
    return { perSecond: (events / took) * 1000, nsPerEvent: (took * 1e6) / events };
  };
  return { round, stop: () => child.stop() };
}

// ---- Shared --------------------------------------------------------------------------------------------------------------------

/** A hub and its readers, all subscribed. */
async function gather(launcher, peer, { connections, topics, window }) {
  const hub = await launcher.hub(peer);
  const { address } = hub.hello;
  await collected(hub, peer);
  const before = memoryOf(hub.pid).resident;
  const step = Math.max(1, window / 4);
  const readers = await launcher.rust('readers', 'load', address, protocolOf(peer), connections, topics, step);
  for (let topic = 0; topic < topics; topic++) await subscribed(hub, peer, `bench:t${topic}`, connections / topics);
  await collected(hub, peer);
  const connectionKiB = (memoryOf(hub.pid).resident - before) / KIB / connections;
  let expected = 0;
  return {
    hub,
    readers,
    address,
    memory: () => ({ connectionKiB, residentMiB: memoryOf(hub.pid).resident / MIB }),
    async checkCounts(sent) {
      expected += (sent * connections) / topics;
      const { frames, lost } = await readers.ask('counts');
      if (lost > 0 || frames !== expected)
        throw new Failure(`${peer}: ${frames} frames of ${expected} came, ${lost} connections were lost`);
    },
    stop: () => Promise.all([hub.stop(), readers.stop()]),
  };
}

async function collected(hub, peer) {
  await pause(SETTLE_MS);
  if (peers[peer].bare === undefined) await ask(hub, peer, 'collect');
}

async function subscribed(hub, peer, topic, count) {
  const deadline = performance.now() + PATIENCE_MS;
  while ((await ask(hub, peer, 'subscribers', { topic })).subscribers < count) {
    if (performance.now() > deadline) throw new Failure(`${peer}: ${topic} has not got ${count} subscribers`);
    await pause(5);
  }
}

function ask(hub, peer, command, fields = {}) {
  if (peers[peer].bare === undefined) return hub.ask({ command, ...fields });
  return hub.ask([command, ...(command === 'credit' ? [fields.address] : [])].join(' '));
}

/** What a piece of work costs a hub, and how late this process, which does nothing meanwhile, is woken. */
async function watched(hub, peer, work) {
  const idleDelay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  await ask(hub, peer, 'begin');
  idleDelay.enable();
  const before = processorOf(hub.pid);
  const result = await work();
  const after = processorOf(hub.pid);
  const { loopP99Ms } = await ask(hub, peer, 'end');
  idleDelay.disable();
  const figures = {
    hubNs: after.process - before.process,
    jsNs: after.mainThread - before.mainThread,
    loopP99Ms,
    idleP99Ms: Math.max(0, idleDelay.percentile(99) / 1e6 - RESOLUTION_MS),
  };
  return { result, figures };
}
