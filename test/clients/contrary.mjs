import { refusal, report, settings } from './conversation.mjs'
import { ResourceOwnerPassword } from 'simple-oauth2'
import { setTimeout as sleep } from 'node:timers/promises'

// again sends the same request until there is a whole answer, for at most 50 seconds.
async function again(request) {
  const end = Date.now() + 50_000
  for (let wait = 100; ; wait = Math.min(2 * wait, 2000)) {
    try {
      return await request()
    } catch (error) {
      const answer = error.data?.isResponseError ? error.data.res : undefined
      if (answer && answer.statusCode !== 429 && answer.statusCode < 500) throw error
      wait = Math.max(wait, 1000 * (Number(answer?.headers['retry-after']) || 0))
      if (Date.now() + wait > end) throw error
      await sleep(wait)
    }
  }
}

const { issuer, client_id: id, client_secret: secret, username, password } = settings

const client = new ResourceOwnerPassword({
  client: { id, secret },
  auth: { tokenHost: issuer, tokenPath: '/oauth2-token' },
  options: { authorizationMethod: 'body' },
  http: { timeout: 10_000 },
})

// live logs in and refreshes so many times, and returns what it saved.
async function live(refreshes) {
  const saved = []
  const save = async (token) => saved.push(token)
  let token = await again(() => client.getToken({ username, password }))
  await save(token.toJSON())
  for (let n = 0; n < refreshes; n++) {
    token = await again(() => token.refresh())
    await save(token.toJSON())
  }
  return saved
}

// careless sends nothing twice, and returns what ended its session.
async function careless(refreshes) {
  let token = await again(() => client.getToken({ username, password }))
  try {
    for (let n = 0; n < refreshes; n++) token = await token.refresh()
  } catch (error) {
    return error.message
  }
}

let refused = 0
await refusal(again(() => (refused++, client.createToken({ refresh_token: 'cfr_' }).refresh())))

const sessions = await Promise.all(Array.from({ length: 3 }, () => live(10)))
report({ sessions, careless: await careless(60), refused })
