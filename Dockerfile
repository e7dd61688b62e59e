# One image for all roles: `merch api`, `merch db`, `merch logging`, `merch migrate` and so on. Without
# a subcommand, it runs the whole store.
#
#   docker build -t merch:local .                                         compiles the program
#   docker build -t merch:local --build-arg MERCH_BINARY=prebuilt .       uses target/image/merch of tools/operate/image
#
# The image has only the program, the libraries that it is linked to, and CA certificates: no shell, no
# package manager. It needs BuildKit.

# The stage with the program: `compiled` or `prebuilt`.
ARG MERCH_BINARY=compiled

# The base image has C and C++ compilers, make, and perl for OpenSSL and tools/sbom.
FROM rust:1.95-bookworm AS compiled
WORKDIR /src
# With CI set, the build fails if gen/ is stale, instead of writing it.
ENV CI=1 CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_TERM_COLOR=never
COPY . .
# The caches keep downloads and compiled dependencies, so a change of the workspace compiles only the
# workspace. Its files are touched, because cargo compares times: files of another checkout may be
# older than what that checkout left in the cache.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
 && cargo build --release --locked --package merch --features kafka-tls \
 && cp target/release/merch /merch \
 && tools/sbom /merch.cdx.json --features kafka-tls

FROM scratch AS prebuilt
COPY target/image/merch target/image/merch.cdx.json /

FROM ${MERCH_BINARY} AS binary

# Builds the root file system in a stage with a shell.
FROM debian:bookworm-slim AS files
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates >/dev/null
# Scanners read the versions of Debian's files from status.d, as in other images without a package
# manager.
RUN mkdir -p /files/etc/ssl/certs /files/usr/local/bin /files/usr/share/doc /files/var/lib/dpkg/status.d \
 && cp /etc/ssl/certs/ca-certificates.crt /files/etc/ssl/certs/ \
 && echo 'hosts: files dns' >/files/etc/nsswitch.conf \
 && echo 'merch:x:10001:10001:merch:/var/lib/merch:/sbin/nologin' >/files/etc/passwd \
 && echo 'merch:x:10001:' >/files/etc/group \
 && install -d -m 1777 /files/tmp && install -d -m 0700 -o 10001 -g 10001 /files/var/lib/merch \
 && for directory in ca api db logging operator; do install -d -m 0700 -o 10001 -g 10001 "/files/var/lib/merch-pki/$directory" || exit 1; done \
 && for package in libc6 libgcc-s1 zlib1g ca-certificates; do \
      dpkg-query -s "$package" >"/files/var/lib/dpkg/status.d/$package" || exit 1; \
      if [ -d "/usr/share/doc/$package" ]; then cp -rL --parents "/usr/share/doc/$package/copyright" /files || exit 1; fi; \
    done
COPY --from=binary --chmod=0755 /merch /files/usr/local/bin/merch
# Copies the libraries that the loader resolves. Fails if the program does not start: a prebuilt one may
# need a newer glibc.
RUN ldd /files/usr/local/bin/merch | grep -o '/[^ ]*' | sort -u | xargs -r -I '{}' cp -L --parents '{}' /files \
 && cp -L --parents /etc/ld.so.cache /files \
 && { chroot /files /usr/local/bin/merch --version || { echo 'the program does not start on Debian 12: was it built for a newer one?' >&2; exit 1; }; }
# The software bill of materials is beside the licences.
COPY LICENSE-APACHE LICENSE-MIT /files/usr/share/doc/merch/
COPY --from=binary --chmod=0644 /merch.cdx.json /files/usr/share/doc/merch/

FROM scratch AS runtime
ARG MERCH_VERSION=0.1.0
ARG MERCH_REVISION=unknown
ARG MERCH_CREATED=1970-01-01T00:00:00Z
ARG MERCH_SOURCE=
LABEL org.opencontainers.image.title="SUSTech Merch Store" \
      org.opencontainers.image.description="Every role of the store in one program: merch api, merch db, merch logging, merch migrate" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${MERCH_VERSION}" \
      org.opencontainers.image.revision="${MERCH_REVISION}" \
      org.opencontainers.image.created="${MERCH_CREATED}" \
      org.opencontainers.image.source="${MERCH_SOURCE}"
COPY --from=files /files /
# compose.yaml sets the addresses of `merch db` and `merch logging`; the whole store opens no port for
# them.
ENV PATH=/usr/local/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    MERCH_DATA_DIR=/var/lib/merch \
    MERCH_LISTEN=0.0.0.0:8080 \
    MERCH_ADMIN_LISTEN=0.0.0.0:9100
# A number, so that an engine that forbids root can check it.
USER 10001:10001
WORKDIR /var/lib/merch
# api, db, logging, and admin: /livez, /readyz, /metrics.
EXPOSE 8080 50051 50052 9100
HEALTHCHECK --interval=3s --timeout=10s --start-period=180s --retries=5 CMD ["merch", "health"]
ENTRYPOINT ["merch"]
