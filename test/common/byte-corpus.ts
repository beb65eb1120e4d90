/**
 * Responses of an upstream octet by octet, with names inside the rdata of every type, as they are to pass through us.
 *
 * Written in a small language instead of by our own wire code: hex octets, `"text"` a label, `.` the root label, `@x` marks
 * a place, `^x` is a compression pointer to that place. Three places are always there: `q` the asked name, `s` its second
 * label, `z` its last.
 */

export interface CorpusRecord {
  readonly owner: string
  readonly type: number
  readonly class?: number
  readonly ttl?: number
  readonly rdata: string
}

export interface CorpusEntry {
  readonly what: string
  readonly asks: number
  /** QR, RD and RA are there always. */
  readonly flags?: number
  readonly answer?: readonly CorpusRecord[]
  readonly authority?: readonly CorpusRecord[]
  readonly additional?: readonly CorpusRecord[]
  /** Options of the OPT in hex; undefined: an upstream without EDNS. */
  readonly options?: string
  /** How many of the additional records stand before the OPT; undefined: all. */
  readonly optBehind?: number
  /** What of the options a client is told, in hex. */
  readonly told?: string
  /** Upper bits of the rcode, version, flags of the OPT. */
  readonly optTtl?: number
}

export interface Assembled {
  readonly bytes: Buffer
  readonly questionEnd: number
  /** Where the TTLs of the records stand, the OPT's not among them. */
  readonly ttlOffsets: readonly number[]
}

const TTL = 3_600

/** The bytes of an entry asked for under `labels` (three), with or without its OPT. */
export function assemble(entry: CorpusEntry, labels: readonly [string, string, string], withOpt: boolean): Assembled {
  const octets: number[] = []
  const places = new Map<string, number>()
  const pointers: { at: number; to: string }[] = []
  const ttlOffsets: number[] = []
  const put = (value: number, width: number): void => {
    for (let shift = (width - 1) * 8; shift >= 0; shift -= 8) octets.push(Math.floor(value / 2 ** shift) & 0xff)
  }
  const write = (text: string): void => {
    for (const token of text.match(/"[^"]*"|\S+/g) ?? []) {
      if (token.startsWith('"')) octets.push(token.length - 2, ...Buffer.from(token.slice(1, -1), 'latin1'))
      else if (token === '.') octets.push(0)
      else if (token.startsWith('@')) places.set(token.slice(1), octets.length)
      else if (token.startsWith('^')) {
        pointers.push({ at: octets.length, to: token.slice(1) })
        put(0, 2)
      } else octets.push(...Buffer.from(token, 'hex'))
    }
  }
  const record = ({ owner, type, class: klass = 1, ttl = TTL, rdata }: CorpusRecord): void => {
    write(owner)
    put(type, 2)
    put(klass, 2)
    if (type !== 41) ttlOffsets.push(octets.length)
    put(ttl, 4)
    const lengthAt = octets.length
    put(0, 2)
    write(rdata)
    const length = octets.length - lengthAt - 2
    octets[lengthAt] = length >> 8
    octets[lengthAt + 1] = length & 0xff
  }
  const { answer = [], authority = [], additional = [], options, optBehind = additional.length } = entry
  const hasOpt = withOpt && options !== undefined
  put(0, 2)
  put(0x8180 | (entry.flags ?? 0), 2)
  for (const count of [1, answer.length, authority.length, additional.length + (hasOpt ? 1 : 0)]) put(count, 2)
  write(`@q "${labels[0]}" @s "${labels[1]}" @z "${labels[2]}" .`)
  put(entry.asks, 2)
  put(1, 2)
  const questionEnd = octets.length
  for (const each of [...answer, ...authority, ...additional.slice(0, optBehind)]) record(each)
  if (hasOpt) record({ owner: '.', type: 41, class: 4096, ttl: entry.optTtl ?? 0, rdata: options })
  for (const each of additional.slice(optBehind)) record(each)
  for (const { at, to } of pointers) {
    const place = places.get(to)
    if (place === undefined) throw new Error(`no place ${to} in ${entry.what}`)
    octets[at] = 0xc0 | (place >> 8)
    octets[at + 1] = place & 0xff
  }
  return { bytes: Buffer.from(octets), questionEnd, ttlOffsets }
}

/** An option of an OPT in hex. */
function option(code: number, data: string | number): string {
  const hex = typeof data === 'string' ? data : 'a5'.repeat(data)
  return [code, hex.length / 2].map((value) => value.toString(16).padStart(4, '0')).join('') + hex
}

const EDE = option(15, `0012${Buffer.from('forged answer').toString('hex')}`)
/** Cookie, NSID, ECS, padding, keepalive, DAU, expire, chain, key tag, report channel, zone version, one nobody knows. */
const OPTIONS = [
  option(10, 24),
  option(3, Buffer.from('ns1.kube-dns').toString('hex')),
  option(8, '00011818c00002'),
  EDE,
  option(12, 200),
  option(11, '0064'),
  option(5, '080d'),
  option(9, '00000e10'),
  option(13, '076578616d706c6500'),
  option(14, '4f66'),
  option(18, '057265706f72740000'.slice(0, 16)),
  option(19, '020078563412'),
  option(65_001, 40),
].join('')
const OPT_NONE = ''

/** Types with names in their rdata, `N` where one stands. The RFCs let the upper ones be compressed, and not the lower. */
const NAMED: readonly {
  readonly type: number
  readonly name: string
  readonly rdata: string
  readonly isOdd?: true
}[] = [
  { type: 2, name: 'NS', rdata: 'N' },
  { type: 3, name: 'MD', rdata: 'N' },
  { type: 4, name: 'MF', rdata: 'N' },
  { type: 5, name: 'CNAME', rdata: 'N' },
  { type: 6, name: 'SOA', rdata: 'N N 00000001 00000e10 00000384 00093a80 0000003c' },
  { type: 7, name: 'MB', rdata: 'N' },
  { type: 8, name: 'MG', rdata: 'N' },
  { type: 9, name: 'MR', rdata: 'N' },
  { type: 12, name: 'PTR', rdata: 'N' },
  { type: 14, name: 'MINFO', rdata: 'N N' },
  { type: 15, name: 'MX', rdata: '000a N' },
  { type: 17, name: 'RP', rdata: 'N N' },
  { type: 18, name: 'AFSDB', rdata: '0001 N' },
  { type: 21, name: 'RT', rdata: '000a N' },
  { type: 24, name: 'SIG', rdata: '0001 05 02 00000e10 65000000 64000000 1234 N aabbccdd' },
  { type: 26, name: 'PX', rdata: '000a N N' },
  { type: 30, name: 'NXT', rdata: 'N 62000000' },
  { type: 33, name: 'SRV', rdata: '0000 0005 1466 N' },
  { type: 35, name: 'NAPTR', rdata: '0064 000a "u" "E2U+sip" "!^.*$!sip:a@b!" N' },
  { type: 36, name: 'KX', rdata: '0001 N' },
  { type: 39, name: 'DNAME', rdata: 'N' },
  { type: 23, name: 'NSAP-PTR', rdata: 'N', isOdd: true },
  { type: 38, name: 'A6', rdata: '40 0000000000000001 N', isOdd: true },
  { type: 45, name: 'IPSECKEY', rdata: '0a 03 02 N 0103515348', isOdd: true },
  { type: 46, name: 'RRSIG', rdata: '0001 0d 02 00000e10 65000000 64000000 1234 N aabbccdd', isOdd: true },
  { type: 47, name: 'NSEC', rdata: 'N 0006 400000000003', isOdd: true },
  { type: 55, name: 'HIP', rdata: '04 02 0003 20010db8 010203 N N', isOdd: true },
  { type: 58, name: 'TALINK', rdata: 'N N', isOdd: true },
  { type: 64, name: 'SVCB', rdata: '0001 N 0003 0002 0235', isOdd: true },
  { type: 65, name: 'HTTPS', rdata: '0001 N 0001 0003 026832', isOdd: true },
  { type: 66, name: 'DSYNC', rdata: '003b 01 14e9 N', isOdd: true },
  { type: 107, name: 'LP', rdata: '000a N', isOdd: true },
  { type: 249, name: 'TKEY', rdata: 'N 64000000 65000000 0003 0000 0000 0000', isOdd: true },
  { type: 250, name: 'TSIG', rdata: 'N 000064000000 012c 0000 1234 0000 0000', isOdd: true },
  { type: 260, name: 'AMTRELAY', rdata: '0a 03 N', isOdd: true },
]

/** Types without names, with rdata that looks like pointers, lengths and nothing where that is possible. */
const PLAIN: readonly { readonly type: number; readonly name: string; readonly rdata: string }[] = [
  { type: 1, name: 'A', rdata: 'c00cc00c' },
  { type: 10, name: 'NULL', rdata: '' },
  { type: 11, name: 'WKS', rdata: 'c0000201 06 00000040' },
  { type: 13, name: 'HINFO', rdata: '"RFC8482" 00' },
  { type: 16, name: 'TXT', rdata: `"c00c" 00 02c00c "${'x'.repeat(60)}"` },
  { type: 19, name: 'X25', rdata: '"311061700956"' },
  { type: 20, name: 'ISDN', rdata: '"150862028003217" "004"' },
  { type: 22, name: 'NSAP', rdata: '47000580005a0000000001e133ffffff00016100' },
  { type: 25, name: 'KEY', rdata: '0200 03 05 c00cc00c' },
  { type: 27, name: 'GPOS', rdata: '"-32.6882" "116.8652" "10.0"' },
  { type: 28, name: 'AAAA', rdata: 'c00cc00cc00cc00cc00cc00cc00cc00c' },
  { type: 29, name: 'LOC', rdata: '00 12 16 13 89 17 2d d0 70 be 15 f0 00 98 8d 20' },
  { type: 31, name: 'EID', rdata: 'c00c' },
  { type: 32, name: 'NIMLOC', rdata: 'c00c' },
  { type: 34, name: 'ATMA', rdata: '01 3631' },
  { type: 37, name: 'CERT', rdata: '0001 1234 08 c00cc00c' },
  { type: 40, name: 'SINK', rdata: '010203' },
  { type: 42, name: 'APL', rdata: '0001 15 03 c00c02' },
  { type: 43, name: 'DS', rdata: `1234 0d 02 ${'c0'.repeat(32)}` },
  { type: 44, name: 'SSHFP', rdata: `04 02 ${'c0'.repeat(32)}` },
  { type: 48, name: 'DNSKEY', rdata: `0101 03 0d ${'c0'.repeat(64)}` },
  { type: 49, name: 'DHCID', rdata: '00 01 01 c00c' },
  { type: 50, name: 'NSEC3', rdata: `01 01 000a 04 c00cc00c 14 ${'c0'.repeat(20)} 0006 400000000002` },
  { type: 51, name: 'NSEC3PARAM', rdata: '01 00 000a 04 c00cc00c' },
  { type: 52, name: 'TLSA', rdata: `03 01 01 ${'c0'.repeat(32)}` },
  { type: 53, name: 'SMIMEA', rdata: `03 00 00 ${'c0'.repeat(300)}` },
  { type: 56, name: 'NINFO', rdata: '"c00c"' },
  { type: 57, name: 'RKEY', rdata: '0000 01 01 c00c' },
  { type: 59, name: 'CDS', rdata: '0000 00 00 00' },
  { type: 60, name: 'CDNSKEY', rdata: '0000 03 00 00' },
  { type: 61, name: 'OPENPGPKEY', rdata: 'c0'.repeat(500) },
  { type: 62, name: 'CSYNC', rdata: '00000042 0003 0004 60000008' },
  { type: 63, name: 'ZONEMD', rdata: `00000001 01 01 ${'c0'.repeat(48)}` },
  { type: 99, name: 'SPF', rdata: '"v=spf1 -all"' },
  { type: 100, name: 'UINFO', rdata: 'c00c' },
  { type: 104, name: 'NID', rdata: '000a 0014 4fff ff20 ee64' },
  { type: 105, name: 'L32', rdata: '000a c00cc00c' },
  { type: 106, name: 'L64', rdata: '000a 20010db8 11401000' },
  { type: 108, name: 'EUI48', rdata: 'c00cc00cc00c' },
  { type: 109, name: 'EUI64', rdata: 'c00cc00cc00cc00c' },
  { type: 128, name: 'NXNAME', rdata: '' },
  { type: 256, name: 'URI', rdata: `000a 0001 ${Buffer.from('https://c00c.example/').toString('hex')}` },
  { type: 257, name: 'CAA', rdata: `80 "issue" ${Buffer.from('ca.example').toString('hex')}` },
  { type: 258, name: 'AVC', rdata: '"app-name:x"' },
  { type: 259, name: 'DOA', rdata: '00000000 00000001 01 "text/plain" c00c' },
  { type: 261, name: 'RESINFO', rdata: '"qnamemin" "exterr=15-17"' },
  { type: 262, name: 'WALLET', rdata: '"BTC" "bc1q"' },
  { type: 32_768, name: 'TA', rdata: `1234 0d 02 ${'c0'.repeat(32)}` },
  { type: 32_769, name: 'DLV', rdata: `1234 0d 02 ${'c0'.repeat(32)}` },
  { type: 65_280, name: 'TYPE65280', rdata: 'c00c 3f ff ffffffff c0' },
  { type: 65_534, name: 'TYPE65534', rdata: '' },
  { type: 65_535, name: 'TYPE65535', rdata: 'ffff' },
  { type: 0, name: 'TYPE0', rdata: '00' },
]

/** Nobody may ask for these; they come beside an answer. */
const NOT_ASKED: ReadonlySet<number> = new Set([128, 249, 250])

const A = addressOf('c0000207')

function addressOf(rdata: string, ttl = TTL): CorpusRecord {
  return { owner: '^q', type: 1, ttl, rdata }
}

/** How a name in rdata may be spelled, and whether every type may have it behind the OPT, where pointers to there move. */
const SPELLINGS: readonly { readonly how: string; readonly name: string; readonly isLocal?: true }[] = [
  { how: 'whole, in mixed case', name: '"Ns" "CORPUS" "eXample" .' },
  { how: 'the root', name: '.' },
  { how: 'a pointer', name: '^q' },
  { how: 'a label and a pointer into the asked name', name: '"a.b" ^z' },
  { how: 'a pointer to the rdata of another record', name: '^r', isLocal: true },
  { how: 'a label and a pointer that leads to a pointer', name: '"x" ^p', isLocal: true },
]

/** Gives `^r`, a name in rdata that ends in a pointer, and `^p`, an owner that does. */
const WITH_PLACES: CorpusRecord = { owner: '@p "far" ^s', type: 2, rdata: '@r "near" ^p' }

function entriesOf(): CorpusEntry[] {
  const entries: CorpusEntry[] = []
  const one = (what: string, type: number, rdata: string): void => {
    const record: CorpusRecord = { owner: '^q', type, rdata }
    const beside = NOT_ASKED.has(type)
    entries.push({
      what,
      asks: beside ? 1 : type,
      answer: beside ? [A] : [record],
      authority: [WITH_PLACES],
      additional: beside ? [record] : [],
      options: OPT_NONE,
    })
  }
  for (const { type, name, rdata, isOdd } of NAMED) {
    for (const { how, name: spelled, isLocal } of SPELLINGS) {
      const written = rdata.replaceAll('N', spelled)
      one(`${name}, its names ${how}`, type, written)
      // Pointers that the RFCs forbid are octets like any others: those that lead behind the OPT are not moved.
      if (isOdd === true && isLocal === true) continue
      entries.push({
        what: `${name} behind the OPT, its names ${how}`,
        asks: 1,
        answer: [A],
        additional: [
          WITH_PLACES,
          { owner: '"own" ^q', type, rdata: written },
          { owner: '^p', type: 1, rdata: 'c0000208' },
        ],
        options: OPTIONS,
        optBehind: 0,
        told: EDE,
      })
    }
    // Forwards: nobody should, and nothing of it is ours to judge.
    one(`${name}, its names pointers to what follows them`, type, `${rdata.replaceAll('N', '^later')} @later`)
  }
  for (const { type, name, rdata } of PLAIN) {
    one(name, type, rdata)
    entries.push({
      what: `${name} behind the OPT`,
      asks: 1,
      answer: [A],
      additional: [{ owner: '^q', type, rdata }, WITH_PLACES, { owner: '^p', type, rdata }],
      options: OPTIONS,
      optBehind: 0,
      told: EDE,
    })
  }
  return [...entries, ...WHOLE]
}

const SIGNED: readonly CorpusRecord[] = [
  { owner: '^q', type: 1, rdata: 'c0000207' },
  { owner: '^q', type: 1, rdata: 'c0000208' },
  { owner: '^q', type: 46, rdata: `0001 0d 03 00000e10 65000000 64000000 1234 "example" . ${'5a'.repeat(64)}` },
]

/** What is about the message rather than about a type. */
const WHOLE: readonly CorpusEntry[] = [
  { what: 'a large OPT behind everything', asks: 1, answer: [A], options: OPTIONS, told: EDE },
  {
    what: 'a large OPT in the middle of the additional records',
    asks: 1,
    answer: [A],
    additional: [
      { owner: '@a "a" ^q', type: 28, rdata: '20010db8000000000000000000000001' },
      { owner: '"b" ^a', type: 28, rdata: '20010db8000000000000000000000002' },
      { owner: '@c "c" ^z', type: 1, rdata: 'c0000202' },
      { owner: '"d" ^c', type: 15, rdata: '000a ^a' },
    ],
    options: OPTIONS,
    optBehind: 2,
    told: EDE,
  },
  { what: 'an OPT of 1,000 options nobody knows', asks: 1, answer: [A], options: option(65_002, 'c00c').repeat(1_000) },
  { what: 'an OPT of 60,000 octets of padding', asks: 1, answer: [A], options: option(12, 60_000) },
  { what: 'an OPT with DO and flags nobody knows', asks: 1, answer: [A], options: option(10, 8), optTtl: 0xffff },
  { what: 'an OPT of version 1', asks: 1, answer: [A], options: 'ffff', optTtl: 0x0001_0000 },
  { what: 'an upstream without EDNS', asks: 1, answer: [A] },
  { what: 'AA, and bits nobody knows', asks: 1, flags: 0x0440, answer: [A], options: OPT_NONE },
  { what: 'a signed answer', asks: 1, flags: 0x0020, answer: SIGNED, options: OPT_NONE },
  {
    what: 'a signed answer at the end of a chain',
    asks: 28,
    answer: [
      { owner: '^q', type: 5, ttl: 60, rdata: '@t "Target" ^z' },
      {
        owner: '^q',
        type: 46,
        ttl: 60,
        rdata: `0005 0d 03 0000003c 65000000 64000000 1234 "example" . ${'5a'.repeat(64)}`,
      },
      { owner: '^t', type: 28, ttl: 7_200, rdata: '20010db8000000000000000000000001' },
      {
        owner: '^t',
        type: 46,
        ttl: 7_200,
        rdata: `001c 0d 02 00001c20 65000000 64000000 1234 "example" . ${'5a'.repeat(64)}`,
      },
    ],
    options: OPT_NONE,
  },
  {
    what: 'a signed denial',
    asks: 28,
    authority: [
      { owner: '^z', type: 6, rdata: '"ns" ^z "root" ^z 00000001 00000e10 00000384 00093a80 00000e10' },
      { owner: '^z', type: 46, rdata: `0006 0d 01 00000e10 65000000 64000000 1234 "example" . ${'5a'.repeat(64)}` },
      { owner: '^q', type: 47, rdata: '"\\000" "x" . 0006 400000000003' },
      { owner: `"${'h'.repeat(32)}" ^z`, type: 50, rdata: `01 00 0000 00 14 ${'c0'.repeat(20)} 0006 400000000002` },
    ],
    options: OPT_NONE,
  },
  {
    what: 'records of other classes beside the answer',
    asks: 16,
    answer: [
      { owner: '^q', type: 16, rdata: '"in"' },
      { owner: '^q', type: 16, class: 3, rdata: '"chaos"' },
      { owner: '^q', type: 1, class: 4, rdata: 'c0000201' },
      { owner: '^q', type: 16, class: 254, rdata: '' },
      { owner: '^q', type: 255, class: 255, rdata: '' },
      { owner: '^q', type: 16, class: 0, rdata: '"none"' },
      { owner: '^q', type: 16, class: 65_535, rdata: '"all ones"' },
    ],
    options: OPT_NONE,
  },
  {
    what: 'every type at once, to ANY',
    asks: 255,
    answer: [
      ...NAMED.map(({ type, rdata }) => ({ owner: '^q', type, rdata: rdata.replaceAll('N', '"n" ^z') })),
      ...PLAIN.map(({ type, rdata }) => ({ owner: '^q', type, rdata })),
    ],
    options: OPTIONS,
    told: EDE,
  },
  {
    what: 'options behind an extended error, and four more of those',
    asks: 1,
    answer: [A],
    options: [EDE, option(10, 8), EDE, option(12, 3), EDE, EDE, EDE].join(''),
    told: EDE.repeat(4),
  },
  {
    what: 'TTLs of all sizes',
    asks: 1,
    answer: [604_800, 86_400, 3_601].map((ttl) => addressOf('c0000207', ttl)),
    additional: [{ owner: '"x" ^q', type: 1, ttl: 0x7fff_ffff, rdata: 'c0000209' }],
    options: OPT_NONE,
  },
  {
    what: 'TTLs with the top bit set',
    asks: 1,
    answer: [0x8000_0000, 0x8000_0001, 0xffff_ffff].map((ttl) => addressOf('c0000207', ttl)),
    options: OPT_NONE,
  },
  {
    what: 'an owner of 255 octets, and one of a label with dots, zeros and high octets',
    asks: 1,
    answer: [A],
    additional: [
      {
        owner: `"${'a'.repeat(63)}" "${'b'.repeat(63)}" "${'c'.repeat(63)}" "${'d'.repeat(61)}" .`,
        type: 1,
        rdata: 'c0000201',
      },
      { owner: '06 2e00ff5cc00c ^z', type: 1, rdata: 'c0000202' },
    ],
    options: OPT_NONE,
  },
  {
    what: 'five hundred addresses',
    asks: 1,
    answer: Array.from({ length: 500 }, (_, i) => addressOf(`c612${i.toString(16).padStart(4, '0')}`)),
    options: OPTIONS,
    told: EDE,
  },
  {
    what: 'rdata of 60,000 octets',
    asks: 65_280,
    answer: [{ owner: '^q', type: 65_280, rdata: 'c0'.repeat(60_000) }],
    options: OPT_NONE,
  },
]

/** Every response of the corpus. */
export const BYTE_CORPUS: readonly CorpusEntry[] = entriesOf()
