// Checks an AsyncAPI document with the parser of its makers: node .ci/asyncapi.mjs FILE
// Schemas refer to each other by $id, urn:cvconsumer:schema:<name>:1, which is <name>.json beside it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'

const { Parser, fromFile } = createRequire(resolve('dist/asyncapi/package.json'))('@asyncapi/parser')
const file = process.argv[2]
const byID = {
  schema: 'urn',
  canRead: true,
  read: (uri) => readFileSync(join(dirname(file), `${uri.toString().split(':')[3]}.json`), 'utf8'),
}
const parser = new Parser({ __unstable: { resolver: { resolvers: [byID] } } })

const { document, diagnostics } = await fromFile(parser, file).parse()
const faults = diagnostics.filter((d) => d.severity <= 1) // errors and warnings
for (const d of faults) console.error(`${d.path.join('.')}: ${d.message} (${d.code})`)
if (!document || faults.length > 0) process.exit(1)
console.log(`${file}: ${document.allChannels().all().length} channels, ${document.allMessages().all().length} messages`)
