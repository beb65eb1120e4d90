/**
 * The door of Grafana's SDK: dashboards as rows of panels, each a title, a sentence and its queries.
 *
 * A query may use `$filter`, which stands for what the variables select; the rate interval is Grafana's own.
 */

import {
  SortOrder,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  DashboardBuilder,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'

export interface Query {
  readonly expr: string
  /** With `{{label}}` for the labels that tell series apart. */
  readonly legend: string
}

export interface Panel {
  readonly title: string
  /** One sentence: what it shows and what is normal. */
  readonly description: string
  /** `short`, `reqps`, `percentunit`, `s`, `bytes`, `bool`; a name that Grafana knows. */
  readonly unit: string
  readonly queries: readonly Query[]
  /** A number instead of a graph; the last value. */
  readonly isStat?: true
}

export interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

export interface Dashboard {
  readonly uid: string
  readonly title: string
  readonly description: string
  /** Which variable picks series: all nodes of a job, or one instance too. */
  readonly selects: 'job' | 'instance'
  readonly rows: readonly Row[]
}

const TAG = 'nodelocal-mcs'
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
/** Every agent has it, and nothing else does. */
const SERIES_OF_AGENTS = 'nodelocal_mcs_zone_synced'

const COLUMNS = 24
const GRAPH = { w: 8, h: 7 }
const STAT = { w: 4, h: 4 }

/** The dashboard as Grafana imports it. */
export function dashboardModel({ uid, title, description, selects, rows }: Dashboard): object {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([TAG, 'dns'])
    .timezone('browser')
    .refresh('30s')
    .time({ from: 'now-1h', to: 'now' })
    .link(new DashboardLinkBuilder('nodelocal-mcs').type(DashboardLinkType.Dashboards).tags([TAG]).asDropdown(true))
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
    .withVariable(
      labelVariable('job', SERIES_OF_AGENTS)
        .includeAll(true)
        .multi(true)
        .current({ selected: true, text: ['All'], value: ['$__all'] }),
    )
  if (selects === 'instance') {
    builder.withVariable(labelVariable('instance', `${SERIES_OF_AGENTS}{job=~"$job"}`))
  }
  const filter = selects === 'instance' ? 'job=~"$job", instance=~"$instance"' : 'job=~"$job"'
  let y = 0
  let id = 1
  for (const row of rows) {
    builder.withRow(new RowBuilder(row.title).id(id++).gridPos({ x: 0, y, w: COLUMNS, h: 1 }))
    y++
    let x = 0
    let rowHeight = 0
    for (const panel of row.panels) {
      const size = panel.isStat === true ? STAT : GRAPH
      if (x + size.w > COLUMNS) {
        x = 0
        y += rowHeight
        rowHeight = 0
      }
      builder.withPanel(panelOf(panel, filter, { x, y, ...size }).id(id++))
      x += size.w
      rowHeight = Math.max(rowHeight, size.h)
    }
    y += rowHeight
  }
  return builder.build()
}

function labelVariable(label: string, series: string): QueryVariableBuilder {
  return new QueryVariableBuilder(label)
    .label(label)
    .datasource(DATASOURCE)
    .query(`label_values(${series}, ${label})`)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
}

function panelOf(
  { title, description, unit, queries, isStat }: Panel,
  filter: string,
  gridPos: { x: number; y: number; w: number; h: number },
): StatBuilder | TimeseriesBuilder {
  const builder = isStat === true ? new StatBuilder() : graph()
  builder.title(title).description(description).unit(unit).datasource(DATASOURCE).gridPos(gridPos)
  for (const [i, { expr, legend }] of queries.entries()) {
    const query = new DataqueryBuilder()
      .refId(String.fromCharCode('A'.charCodeAt(0) + i))
      .expr(expr.replaceAll('$filter', filter))
      .legendFormat(legend)
    builder.withTarget(isStat === true ? query.instant() : query.range())
  }
  return builder
}

function graph(): TimeseriesBuilder {
  return new TimeseriesBuilder()
    .min(0)
    .fillOpacity(10)
    .legend(new VizLegendOptionsBuilder().showLegend(true))
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
}
