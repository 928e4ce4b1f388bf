// A script's side of its conversation with the test, in JSON lines.
import { webcrypto } from 'node:crypto'
import { createInterface } from 'node:readline'

globalThis.crypto ??= webcrypto // Node.js 18 has it behind a flag

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const read = async () => JSON.parse((await lines.next()).value)
const write = (line) => console.log(JSON.stringify(line))

export const settings = await read()

// authorize sends the user to an authorization URL and returns the URL that the user
// comes back to.
export async function authorize(url, { consent = true } = {}) {
  write({ authorize: url.href, consent })
  return new URL(await read())
}

// report ends the conversation.
export const report = (result) => write({ result })

// refusal returns the error code that a request is refused with.
export async function refusal(request) {
  try {
    await request
  } catch (e) {
    return e.error ?? String(e)
  }
  throw new Error('what should be refused was not')
}

// losing is a fetch whose first answer gets lost on its way. It is kept in `lost`.
export function losing(lost) {
  return async (...request) => {
    const response = await fetch(...request)
    if (lost.answer === undefined) {
      lost.answer = await response.json()
      throw new TypeError('the answer got lost')
    }
    return response
  }
}
