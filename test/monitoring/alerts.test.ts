import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { stringify } from 'yaml'
import { ALERTS, ruleGroups } from '../../monitoring/alerts.ts'
import { monitoringFiles } from '../../scripts/generate-monitoring.ts'
import { requireProgram } from '../common/requires.ts'

const AT = 'job="kube-system/nodelocal-mcs", instance="10.0.0.1:9253"'
const fraction = (rcode: string, step: number) => ({
  series: `coredns_dns_responses_total{${AT}, rcode="${rcode}"}`,
  values: `0+${step}x60`,
})
const buckets = (fast: number, slow: number) =>
  (
    [
      ['0.001', fast],
      ['2.048', fast + slow],
      ['+Inf', fast + slow],
    ] as const
  ).map(([le, step]) => ({
    series: `coredns_dns_request_duration_seconds_bucket{${AT}, le="${le}"}`,
    values: `0+${step}x60`,
  }))
const one = (series: string, values: string) => [{ series, values }]
const counter = (name: string, labels = '') => ({
  firing: one(`${name}{${AT}${labels}}`, '0+3x60'),
  quiet: one(`${name}{${AT}${labels}}`, '7x60'),
})
const gauge = (name: string, firing: string, quiet: string, labels = '') => ({
  firing: one(`${name}{${AT}${labels}}`, firing),
  quiet: one(`${name}{${AT}${labels}}`, quiet),
})

type Series = readonly { readonly series: string; readonly values: string }[]

/** By alert: an hour of samples, one a minute, with which it fires at the end, and one with which it does not. */
const CASES: Readonly<Record<string, { readonly firing: Series; readonly quiet: Series }>> = {
  NodelocalMcsDown: gauge('up', '0x60', '1x55 0x2 1x2'),
  NodelocalMcsAbsent: { firing: one('up{job="another"}', '1x60'), quiet: one(`up{${AT}}`, '0x60') },
  NodelocalMcsRestarting: gauge('process_start_time_seconds', '1x50 2x2 3x2 4x5', '1x40 2x10 3x10'),
  NodelocalMcsErrorsHigh: {
    firing: [fraction('NOERROR', 900), fraction('SERVFAIL', 50)],
    quiet: [fraction('NOERROR', 980), fraction('SERVFAIL', 20)],
  },
  NodelocalMcsLatencyHigh: { firing: buckets(980, 20), quiet: buckets(995, 5) },
  NodelocalMcsUpstreamDown: gauge('nodelocal_mcs_upstream_healthy', '0x60', '1x57 0x3', ', to="10.96.0.11:53"'),
  NodelocalMcsNoUpstream: counter('coredns_forward_healthcheck_broken_total'),
  NodelocalMcsForwardOverload: counter('coredns_forward_max_concurrent_rejects_total'),
  NodelocalMcsStaleAnswers: {
    firing: one(`nodelocal_mcs_stale_answers_total{${AT}}`, '0+3x60'),
    // For a few minutes only.
    quiet: one(`nodelocal_mcs_stale_answers_total{${AT}}`, '0x50 1+1x9'),
  },
  NodelocalMcsZoneUnsynced: gauge('nodelocal_mcs_zone_synced', '0x60', '0x5 1x55'),
  NodelocalMcsZoneFromSnapshot: gauge('nodelocal_mcs_zone_state', '1x60', '1x10 0x50', ', state="snapshot"'),
  NodelocalMcsCrdsAbsent: gauge('nodelocal_mcs_zone_state', '1x60', '0x60', ', state="absent"'),
  NodelocalMcsWatchDown: gauge('nodelocal_mcs_watch_connected', '1x45 0x15', '1x55 0x5', ', kind="serviceimports"'),
  NodelocalMcsConfigRefused: gauge('coredns_reload_failed_total', '0x55 1x5', '0x10 1x50'),
  NodelocalMcsConfigDiffers: {
    firing: [
      ...one(`nodelocal_mcs_config_info{${AT}, sha256="a"}`, '1x60'),
      ...one('nodelocal_mcs_config_info{job="nodelocal-mcs", instance="10.0.0.2:9253", sha256="b"}', '1x60'),
    ],
    quiet: [
      ...one(`nodelocal_mcs_config_info{${AT}, sha256="a"}`, '1x60'),
      ...one('nodelocal_mcs_config_info{job="nodelocal-mcs", instance="10.0.0.2:9253", sha256="a"}', '1x60'),
    ],
  },
  NodelocalMcsSetupErrors: counter('coredns_nodecache_setup_errors_total', ', errortype="iptables"'),
  NodelocalMcsQueriesDropped: counter('nodelocal_mcs_dropped_queries_total', ', reason="overloaded"'),
  NodelocalMcsTcpRefused: counter('nodelocal_mcs_tcp_connections_refused_total', ', reason="connections"'),
  NodelocalMcsEventLoopLate: gauge('nodelocal_mcs_event_loop_delay_seconds', '0.4x60', '0.02x60', ', statistic="max"'),
  NodelocalMcsWorkerFalls: gauge('nodelocal_mcs_worker_restarts_total', '0x50 1x10', '2x60'),
  NodelocalMcsOwnQueriesFail: counter('coredns_health_request_failures_total'),
  NodelocalMcsExceptions: gauge('coredns_panics_total', '0x50 1x10', '2x60'),
  NodelocalMcsDescriptorsLow: {
    firing: [...one(`process_open_fds{${AT}}`, '900x60'), ...one(`process_max_fds{${AT}}`, '1024x60')],
    quiet: [...one(`process_open_fds{${AT}}`, '90x60'), ...one(`process_max_fds{${AT}}`, '1024x60')],
  },
}

suite('alerts', () => {
  for (const [path, text] of monitoringFiles()) {
    test(`${path} is what \`npm run docs\` writes`, () => {
      assert.equal(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'), text)
    })
  }

  test('please promtool check rules', (t) => {
    const promtool = requireProgram(t, 'promtool', 'prometheus')
    if (promtool === undefined) return
    const { status, output } = runPromtool(promtool, ['check', 'rules'], { groups: ruleGroups() })
    assert.equal(status, 0, output)
    assert.match(output, new RegExp(`${ALERTS.length} rules found`))
  })

  for (const kind of ['firing', 'quiet'] as const) {
    test(kind === 'firing' ? 'fire, each of them' : 'stay quiet, each of them', (t) => {
      const promtool = requireProgram(t, 'promtool', 'prometheus')
      if (promtool === undefined) return
      const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-rules-'))
      t.after(() => rmSync(directory, { recursive: true }))
      const rules = join(directory, 'rules.yaml')
      writeFileSync(rules, stringify({ groups: ruleGroups() }))
      const tests = ALERTS.map(({ name }) => ({
        name,
        interval: '1m',
        input_series: CASES[name]?.[kind],
        promql_expr_test: [
          {
            expr: `count(ALERTS{alertname="${name}", alertstate="firing"}) or vector(0)`,
            eval_time: '59m',
            exp_samples: [{ labels: '{}', value: kind === 'firing' ? 1 : 0 }],
          },
        ],
      }))
      const file = { rule_files: [rules], evaluation_interval: '1m', tests }
      const { status, output } = runPromtool(promtool, ['test', 'rules'], file)
      assert.equal(status, 0, output)
    })
  }

  test('have samples here, each of them', () => {
    assert.deepEqual(Object.keys(CASES).sort(), ALERTS.map(({ name }) => name).sort())
  })
})

function runPromtool(
  promtool: string,
  args: readonly string[],
  file: object,
): { status: number | null; output: string } {
  const directory = mkdtempSync(join(tmpdir(), 'nodelocal-mcs-promtool-'))
  try {
    const path = join(directory, 'file.yaml')
    writeFileSync(path, stringify(file))
    const { status, stdout, stderr } = spawnSync(promtool, [...args, path], { encoding: 'utf8' })
    return { status, output: stdout + stderr }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
