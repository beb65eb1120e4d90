import { openUdpListener } from '../../../src/serve/listen/udp-dgram.ts'
import { behavesLikeAUdpListener } from './udp-listener-suite.ts'

behavesLikeAUdpListener('udp-dgram', {
  open: openUdpListener,
  except: { 'receives many datagrams at once': 'node:dgram hands over one at a time' },
})
