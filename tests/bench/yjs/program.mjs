// What stock Yjs takes; one JSON answer.
// node program.mjs pass ws://... SECONDS    two clients of a server: an edit seen by the other (p50), edits a second
// node program.mjs trace FILE               [[at, letter or ""], ...], each a transaction
import * as Y from 'yjs'
import { readFileSync } from 'node:fs'

const say = (answer) => { process.stdout.write(JSON.stringify(answer) + '\n'); process.exit(0) }

const joined = async (url) => {
  const { WebsocketProvider } = await import('y-websocket')
  const { default: WebSocket } = await import('ws')
  const doc = new Y.Doc()
  const provider = new WebsocketProvider(url, 'bench', doc, { WebSocketPolyfill: WebSocket, disableBc: true })
  await new Promise((resolve) => provider.once('sync', resolve))
  return doc
}

const holds = (map, key, value) => new Promise((resolve) => {
  const look = () => { if (map.get(key) === value) { map.unobserve(look); resolve() } }
  map.observe(look)
  look()
})

const pass = async (url, seconds) => {
  const [from, to] = [(await joined(url)).getMap('m'), (await joined(url)).getMap('m')]
  const taken = []
  const endsMs = performance.now() + seconds * 1e3
  for (let number = 0; performance.now() < endsMs; number++) {
    const beganMs = performance.now()
    const seen = holds(to, 'k', number)
    from.set('k', number)
    await seen
    taken.push(performance.now() - beganMs)
  }
  taken.sort((one, other) => one - other)
  const edits = 10_000
  const beganMs = performance.now()
  const all = holds(to, 'last', edits)
  for (let number = 1; number <= edits; number++) from.set(number === edits ? 'last' : `k${number % 100}`, number)
  await all
  say({ seen_ms: taken[taken.length >> 1], rate: edits / (performance.now() - beganMs) * 1e3 })
}

const trace = (path) => {
  const steps = JSON.parse(readFileSync(path, 'utf8'))
  const doc = new Y.Doc()
  const text = doc.getText('text')
  doc.on('update', () => {})
  const beganMs = performance.now()
  for (const [at, letter] of steps) if (letter) text.insert(at, letter); else text.delete(at, 1)
  say({ taken_s: (performance.now() - beganMs) / 1e3 })
}

const [what, ...rest] = process.argv.slice(2)
if (what === 'pass') await pass(rest[0], Number(rest[1])); else trace(rest[0])
