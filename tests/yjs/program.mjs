// A stock Yjs client that is told what to do: one JSON command a line on standard input, one JSON answer a line.
// {"do": "open", "url": "ws://...", "room": "plan", "params": {}}    connects; answers when it is synced, or closed
// {"do": "edit", "root": "tasks", "type": "map", "key": "t1", "value": 1}
// {"do": "edit", "root": "steps", "type": "list", "at": 0, "insert": ["a"], "delete": 0}
// {"do": "edit", "root": "notes", "type": "text", "at": 0, "insert": "hi", "delete": 0}
// {"do": "show", "roots": {"tasks": "map", "steps": "list", "notes": "text"}}
// {"do": "until", "roots": {...}, "equals": {...}, "timeout_ms": 5000}  answers when the roots are equal to that
// {"do": "presence", "state": {...}} · {"do": "others"} · {"do": "update"} · {"do": "go", "online": true}
// {"do": "merge", "updates": ["base64"], "roots": {...}}              no connection: the oracle
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import WebSocket from 'ws'
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'

let doc = new Y.Doc()
let provider = null
let closed = null

const TYPES = { map: 'getMap', list: 'getArray', text: 'getText' }
const root = (name, type, of = doc) => of[TYPES[type]](name)
const shown = (roots, of = doc) =>
  Object.fromEntries(Object.entries(roots).map(([name, type]) => {
    const shared = root(name, type, of)
    return [name, type === 'text' ? shared.toString() : shared.toJSON()]
  }))

const until = (check, timeoutMs, subscribe, unsubscribe) =>
  new Promise((resolve) => {
    const end = (result) => { clearTimeout(timer); unsubscribe(look); resolve(result) }
    const look = () => { if (check()) end(true) }
    const timer = setTimeout(() => end(check()), timeoutMs)
    subscribe(look)
    look()
  })

const commands = {
  open: async ({ url, room, params = {}, timeout_ms: timeoutMs = 40000 }) => {
    provider = new WebsocketProvider(url, room, doc, { params, WebSocketPolyfill: WebSocket, disableBc: true })
    provider.on('closed', (event) => { closed = event })
    await until(() => provider.synced || closed !== null, timeoutMs,
      (look) => { provider.on('sync', look); provider.on('closed', look) },
      (look) => { provider.off('sync', look); provider.off('closed', look) })
    return { synced: provider.synced, closed, client: doc.clientID }
  },
  closed: async ({ timeout_ms: timeoutMs = 40000 }) => {
    await until(() => closed !== null, timeoutMs, (look) => provider.on('closed', look), (look) => provider.off('closed', look))
    return { closed }
  },
  edit: async ({ root: name, type, key, value, at, insert, delete: count }) => {
    const shared = root(name, type)
    doc.transact(() => {
      if (type === 'map') {
        if (value === undefined) shared.delete(key); else shared.set(key, value)
        return
      }
      if (count) shared.delete(at, count)
      if (insert && insert.length) shared.insert(at, insert)
    })
    return {}
  },
  show: async ({ roots }) => ({ shown: shown(roots) }),
  until: async ({ roots, equals, timeout_ms: timeoutMs = 40000 }) => {
    const reached = await until(() => isDeepStrictEqual(shown(roots), equals), timeoutMs,
      (look) => doc.on('update', look), (look) => doc.off('update', look))
    return { reached, shown: shown(roots) }
  },
  presence: async ({ state }) => { provider.awareness.setLocalState(state); return {} },
  others: async ({ count, timeout_ms: timeoutMs = 40000 }) => {
    const others = () => [...provider.awareness.getStates()].filter(([id]) => id !== doc.clientID).map(([, state]) => state)
    await until(() => others().length === count, timeoutMs,
      (look) => provider.awareness.on('change', look), (look) => provider.awareness.off('change', look))
    return { others: others() }
  },
  go: async ({ online }) => { if (online) provider.connect(); else provider.disconnect(); return {} },
  update: async () => ({ update: Buffer.from(Y.encodeStateAsUpdate(doc)).toString('base64') }),
  merge: async ({ updates, roots }) => {
    const merged = new Y.Doc()
    for (const update of updates) Y.applyUpdate(merged, Buffer.from(update, 'base64'))
    return { shown: shown(roots, merged), pending: merged.store.pendingStructs !== null }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...rest } = JSON.parse(line)
  let answer
  try {
    answer = await commands[name](rest)
  } catch (error) {
    answer = { error: String(error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit(0)
