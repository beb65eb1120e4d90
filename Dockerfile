# syntax=docker/dockerfile:1
# Two stages: one with npm that bundles, one with nothing but the runtime, the bundle, koffi's native library, and the
# programs that set up interface and rules. `node scripts/try-image.ts` does these steps without an engine. For amd64 and arm64:
# docker buildx build --platform linux/amd64,linux/arm64 --sbom=true .
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
COPY scripts/setup.mjs scripts/
RUN npm run -s setup
COPY cmd cmd
COPY src src
COPY scripts scripts
COPY tsconfig.json ./
# The node package pins the runtime; it, not Debian's, builds and goes into the image.
RUN npm run -s build && cp node_modules/node/bin/node /usr/local/bin/node-pinned
# Of koffi what runs: its loader, and the native library of this platform.
RUN mkdir -p runtime && cp -r --parents node_modules/koffi/package.json node_modules/koffi/index.* node_modules/koffi/src node_modules/koffi/lib node_modules/@koromix runtime/

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates iproute2 iptables nftables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/node-pinned /usr/local/bin/node
COPY --from=build /src/dist/nodelocal-mcs.js /src/dist/nodelocal-mcs-watchdog.js /src/dist/nodelocal-mcs-worker.js /src/dist/nodelocal-mcs-kubernetes.js /src/dist/nodelocal-mcs-manifests.js /app/dist/
COPY --from=build /src/runtime/node_modules /app/node_modules
COPY package.json LICENSE /app/
ENV NODE_ENV=production
# Port 53 needs NET_BIND_SERVICE; the manifests give it. Everywhere else an ordinary user is enough.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/node", "/app/dist/nodelocal-mcs.js"]
CMD ["run", "--config", "/etc/nodelocal-mcs/config.yaml"]
