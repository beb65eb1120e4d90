import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { configDocs } from '../../scripts/generate-config-docs.ts'
import { configFromText } from '../../src/config/config.ts'
import { readYaml } from '../../src/config/file.ts'
import { configJsonSchema, type JsonSchema } from '../../src/config/schema.ts'

const inRepository = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

/** Every place of the schema: sections, settings, and the settings of list entries. */
function* placesIn(schema: JsonSchema, path: readonly string[] = []): Generator<[path: string[], schema: JsonSchema]> {
  for (const [key, child] of Object.entries((schema.items ?? schema).properties ?? {})) {
    const here = [...path, key]
    yield [here, child]
    yield* placesIn(child, here)
  }
}

suite('documentation of the configuration', () => {
  for (const [path, text] of configDocs()) {
    test(`${path} is what \`npm run docs\` writes`, () => assert.equal(inRepository(path), text))
  }

  test('the example is a good configuration', () => {
    const loaded = configFromText(inRepository('docs/configuration.example.yaml'), 'example')
    assert.deepEqual(loaded.kind === 'problems' ? loaded.problems : [], [])
  })

  test('the example has every setting', () => {
    const reading = readYaml(inRepository('docs/configuration.example.yaml'))
    assert.ok(reading.kind === 'value')
    const has = (value: unknown, [key, ...rest]: readonly string[]): boolean => {
      if (key === undefined) return true
      const here = Array.isArray(value) ? (value as unknown[])[0] : value
      return typeof here === 'object' && here !== null && key in here && has(here[key as keyof typeof here], rest)
    }
    const absent = [...placesIn(configJsonSchema())].map(([path]) => path).filter((path) => !has(reading.value, path))
    assert.deepEqual(absent, [])
  })

  for (const [path, schema] of placesIn(configJsonSchema())) {
    if (schema.properties !== undefined) continue
    test(`${path.join('.')} says what it is, and its default`, () => {
      assert.match(schema.description ?? '', /\w{3}.*[.]$/)
      const isRequired = path[0] === 'forward' && ['zones', 'upstreams'].includes(path[1]!)
      assert.equal('default' in schema, !isRequired)
    })
  }
})
