/** The comparison as a picture: a panel for each kind of load, a group of bars for each rate, a bar for each server. */

import { OURS, type Row } from './compare-report.ts'

const COLOURS = ['#1f6feb', '#8b949e', '#d29922', '#3fb950', '#a371f7', '#f85149']
const PANEL = { width: 400, height: 150, left: 84, right: 50, top: 26 }
const [COLUMNS, BAR, GROUP_GAP, LEGEND] = [2, 9, 8, 34]

/** CPU per query of every row, each panel on a scale of its own: the ratios within it are what counts. */
export function plotOf(rows: readonly Row[]): string {
  const panels = new Map<string, Row[]>()
  for (const row of rows) {
    const way = row.upstream === '' ? '' : `, upstream over ${row.upstream}`
    const title = `${row.kind}, clients over ${row.clients}${way}`
    panels.set(title, [...(panels.get(title) ?? []), row])
  }
  const names = [...new Set(rows.flatMap(({ servers }) => servers.map(({ server }) => server)))]
  names.sort((one, other) => Number(other === OURS) - Number(one === OURS))
  const colourOf = (server: string) => COLOURS[names.indexOf(server) % COLOURS.length]!
  const bars = Math.max(...[...panels.values()].map((panel) => panel.reduce((sum, row) => sum + row.servers.length, 0)))
  const height = Math.max(PANEL.height, PANEL.top + bars * (BAR + 1) + 3 * GROUP_GAP + 12)
  const drawn = [...panels].map(([title, panel], index) => {
    const [x, y] = [(index % COLUMNS) * PANEL.width, LEGEND + Math.floor(index / COLUMNS) * height]
    return `<g transform="translate(${x} ${y})">${panelOf(title, panel, colourOf)}</g>`
  })
  const legend = names.map((name, index) => {
    const x = PANEL.left + index * 120
    return `<rect x="${x}" y="10" width="10" height="10" fill="${colourOf(name)}"/>${text(x + 15, 19, name)}`
  })
  const [w, h] = [COLUMNS * PANEL.width, LEGEND + Math.ceil(panels.size / COLUMNS) * height]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" font-family="sans-serif" font-size="11">`,
    `<title>CPU per query in microseconds; shorter is better</title><rect width="${w}" height="${h}" fill="#ffffff"/>`,
    ...legend,
    ...drawn,
    '</svg>\n',
  ].join('\n')
}

function panelOf(title: string, rows: readonly Row[], colourOf: (server: string) => string): string {
  const most = Math.max(...rows.flatMap(({ servers }) => servers.map(({ cpuMicros }) => cpuMicros)))
  const scale = (PANEL.width - PANEL.left - PANEL.right) / most
  const parts = [text(8, 16, `${title}: CPU µs/query`, 'bold')]
  let y = PANEL.top
  for (const { rate, servers } of rows) {
    parts.push(text(8, y + (servers.length * (BAR + 1)) / 2 + 4, rate === 0 ? 'flat out' : `${rate}/s`))
    for (const { server, cpuMicros } of servers) {
      const width = cpuMicros * scale
      parts.push(
        `<rect x="${PANEL.left}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${colourOf(server)}"/>`,
      )
      parts.push(text(PANEL.left + width + 4, y + BAR - 1, cpuMicros.toFixed(1)))
      y += BAR + 1
    }
    y += GROUP_GAP
  }
  return parts.join('')
}

function text(x: number, y: number, content: string, weight = 'normal'): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" font-weight="${weight}" fill="#1f2328">${escaped}</text>`
}
