/** What the control plane asks of a log: an event's name in kebab-case, and its fields. */
export interface ControlLog {
  info(event: string, fields: Readonly<Record<string, unknown>>): void
  warn(event: string, fields: Readonly<Record<string, unknown>>): void
  error(event: string, fields: Readonly<Record<string, unknown>>): void
}
