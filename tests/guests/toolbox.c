// A program for tests: the first argument says what it does.
//  log N MS | burn sha|mat|sieve N | loop | hog MB MS | trap | exit N | write PATH TEXT [EXIT] | cat PATH | sleep MS
//  env | echo-server IP PORT | echo-client HOST PORT MSG | rtt IP PORT N SIZE | flood IP PORT MB | sink IP PORT
//  resolve NAME | fill PATH MB MS | follow PATH | grpc-health IP PORT STATE
#include "../../examples/sdk/program.h"
#include "burn.h"
typedef program_string_t S;
static wasi_io_streams_own_output_stream_t so;
static int so_ok;
static int wr(wasi_io_streams_borrow_output_stream_t os, const void *p, size_t n) {
  const uint8_t *b = p;
  wasi_io_streams_stream_error_t e;
  while (n) {
    size_t k = n < 4096 ? n : 4096;
    program_list_u8_t c = {(uint8_t *)b, k};
    if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(os, &c, &e)) return 0;
    b += k;
    n -= k;
  }
  return 1;
}
// non-flushing bulk write: check-write + write
static int wrbulk(wasi_io_streams_borrow_output_stream_t os, const uint8_t *b, size_t n) {
  wasi_io_streams_stream_error_t e;
  wasi_io_streams_own_pollable_t p = wasi_io_streams_method_output_stream_subscribe(os);
  int ok = 1;
  while (n) {
    uint64_t k;
    if (!wasi_io_streams_method_output_stream_check_write(os, &k, &e)) {
      ok = 0;
      break;
    }
    if (!k) {
      wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(p));
      continue;
    }
    if (k > n) k = n;
    program_list_u8_t c = {(uint8_t *)b, k};
    if (!wasi_io_streams_method_output_stream_write(os, &c, &e)) {
      ok = 0;
      break;
    }
    b += k;
    n -= k;
  }
  wasi_io_poll_pollable_drop_own(p);
  return ok;
}
static void out(const void *p, size_t n) {
  if (!so_ok) {
    so = wasi_cli_stdout_get_stdout();
    so_ok = 1;
  }
  wr(wasi_io_streams_borrow_output_stream(so), p, n);
}
static void outs(const char *s) { out(s, strlen(s)); }
static char *fmtu(char *t, uint64_t v) {
  int i = 24;
  t[--i] = 0;
  do t[--i] = '0' + v % 10;
  while (v /= 10);
  return t + i;
}
static void outu(uint64_t v) {
  char t[24];
  outs(fmtu(t, v));
}
static uint32_t num(S s) {
  uint32_t v = 0;
  for (size_t i = 0; i < s.len; i++)
    if (s.ptr[i] >= '0' && s.ptr[i] <= '9') v = v * 10 + s.ptr[i] - '0';
  return v;
}
static int is(S s, const char *p) {
  size_t n = strlen(p);
  return s.len == n && !memcmp(s.ptr, p, n);
}
static void msleep(uint64_t ms) {
  wasi_clocks_monotonic_clock_own_pollable_t p = wasi_clocks_monotonic_clock_subscribe_duration(ms * 1000000ull);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(p));
  wasi_io_poll_pollable_drop_own(p);
}
static int fail(const char *what, int code) {
  outs("error: ");
  outs(what);
  outs(" ");
  outu(code);
  outs("\n");
  return 0;
}
static wasi_sockets_network_ip_socket_address_t addr(S ip, uint16_t port) {
  wasi_sockets_network_ip_socket_address_t a;
  memset(&a, 0, sizeof a);
  a.tag = WASI_SOCKETS_NETWORK_IP_SOCKET_ADDRESS_IPV4;
  a.val.ipv4.port = port;
  uint8_t o[4] = {0};
  int k = 0;
  for (size_t i = 0; i < ip.len; i++) {
    if (ip.ptr[i] == '.') {
      if (++k > 3) break;
    } else
      o[k] = o[k] * 10 + ip.ptr[i] - '0';
  }
  a.val.ipv4.address.f0 = o[0];
  a.val.ipv4.address.f1 = o[1];
  a.val.ipv4.address.f2 = o[2];
  a.val.ipv4.address.f3 = o[3];
  return a;
}
typedef struct {
  wasi_sockets_tcp_own_tcp_socket_t s;
  wasi_sockets_tcp_own_input_stream_t i;
  wasi_sockets_tcp_own_output_stream_t o;
} Conn;
static int blocksock(wasi_sockets_tcp_borrow_tcp_socket_t b) {
  wasi_sockets_tcp_own_pollable_t p = wasi_sockets_tcp_method_tcp_socket_subscribe(b);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(p));
  wasi_io_poll_pollable_drop_own(p);
  return 1;
}
static int lookup(wasi_sockets_network_borrow_network_t net, S name, wasi_sockets_network_ip_socket_address_t *a) {
  wasi_sockets_ip_name_lookup_own_resolve_address_stream_t rs;
  wasi_sockets_network_error_code_t e;
  if (!wasi_sockets_ip_name_lookup_resolve_addresses(net, &name, &rs, &e)) return fail("resolve", e);
  wasi_sockets_ip_name_lookup_borrow_resolve_address_stream_t b =
      wasi_sockets_ip_name_lookup_borrow_resolve_address_stream(rs);
  wasi_sockets_ip_name_lookup_own_pollable_t p = wasi_sockets_ip_name_lookup_method_resolve_address_stream_subscribe(b);
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(p));
  wasi_io_poll_pollable_drop_own(p);
  wasi_sockets_ip_name_lookup_option_ip_address_t r;
  int ok = 0;
  while (wasi_sockets_ip_name_lookup_method_resolve_address_stream_resolve_next_address(b, &r, &e) && r.is_some)
    if (r.val.tag == WASI_SOCKETS_NETWORK_IP_ADDRESS_IPV4) {
      a->val.ipv4.address = r.val.val.ipv4;
      ok = 1;
      break;
    }
  wasi_sockets_ip_name_lookup_resolve_address_stream_drop_own(rs);
  return ok || fail("resolve-next", e);
}
static int dial(S host, uint16_t port, Conn *c) {
  wasi_sockets_network_error_code_t e;
  wasi_sockets_instance_network_own_network_t net = wasi_sockets_instance_network_instance_network();
  wasi_sockets_network_borrow_network_t bn = wasi_sockets_network_borrow_network(net);
  wasi_sockets_network_ip_socket_address_t a = addr(host, port);
  if (host.len && (host.ptr[0] < '0' || host.ptr[0] > '9'))
    if (!lookup(bn, host, &a)) return 0;
  if (!wasi_sockets_tcp_create_socket_create_tcp_socket(WASI_SOCKETS_NETWORK_IP_ADDRESS_FAMILY_IPV4, &c->s, &e))
    return fail("socket", e);
  wasi_sockets_tcp_borrow_tcp_socket_t b = wasi_sockets_tcp_borrow_tcp_socket(c->s);
  if (!wasi_sockets_tcp_method_tcp_socket_start_connect(b, bn, &a, &e)) return fail("start-connect", e);
  wasi_sockets_tcp_tuple2_own_input_stream_own_output_stream_t t;
  for (;;) {
    if (wasi_sockets_tcp_method_tcp_socket_finish_connect(b, &t, &e)) break;
    if (e != WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK) return fail("connect", e);
    blocksock(b);
  }
  c->i = t.f0;
  c->o = t.f1;
  return 1;
}
static int listen_(S ip, uint16_t port, wasi_sockets_tcp_own_tcp_socket_t *s) {
  wasi_sockets_network_error_code_t e;
  wasi_sockets_network_borrow_network_t bn =
      wasi_sockets_network_borrow_network(wasi_sockets_instance_network_instance_network());
  wasi_sockets_network_ip_socket_address_t a = addr(ip, port);
  if (!wasi_sockets_tcp_create_socket_create_tcp_socket(WASI_SOCKETS_NETWORK_IP_ADDRESS_FAMILY_IPV4, s, &e))
    return fail("socket", e);
  wasi_sockets_tcp_borrow_tcp_socket_t b = wasi_sockets_tcp_borrow_tcp_socket(*s);
  if (!wasi_sockets_tcp_method_tcp_socket_start_bind(b, bn, &a, &e)) return fail("bind", e);
  if (!wasi_sockets_tcp_method_tcp_socket_finish_bind(b, &e)) return fail("finish-bind", e);
  if (!wasi_sockets_tcp_method_tcp_socket_start_listen(b, &e)) return fail("listen", e);
  if (!wasi_sockets_tcp_method_tcp_socket_finish_listen(b, &e)) return fail("finish-listen", e);
  outs("listening on port ");
  outu(port);
  outs("\n");
  return 1;
}
static int accept_(wasi_sockets_tcp_own_tcp_socket_t s, Conn *c) {
  wasi_sockets_network_error_code_t e;
  wasi_sockets_tcp_borrow_tcp_socket_t b = wasi_sockets_tcp_borrow_tcp_socket(s);
  wasi_sockets_tcp_tuple3_own_tcp_socket_own_input_stream_own_output_stream_t t;
  for (;;) {
    if (wasi_sockets_tcp_method_tcp_socket_accept(b, &t, &e)) break;
    if (e != WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK) return fail("accept", e);
    blocksock(b);
  }
  c->s = t.f0;
  c->i = t.f1;
  c->o = t.f2;
  return 1;
}
static void closec(Conn *c) {
  wasi_io_streams_input_stream_drop_own(c->i);
  wasi_io_streams_output_stream_drop_own(c->o);
  wasi_sockets_tcp_tcp_socket_drop_own(c->s);
}
static int rd(Conn *c, uint64_t max, program_list_u8_t *l) {
  wasi_io_streams_stream_error_t e;
  return wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(c->i), max, l, &e);
}
// multi-connection echo server with poll
#define MAXC 64
static int echo_server(S ip, uint16_t port, int echo) {
  wasi_sockets_tcp_own_tcp_socket_t ls;
  if (!listen_(ip, port, &ls)) return 0;
  static Conn cs[MAXC];
  static wasi_io_streams_own_pollable_t ps[MAXC];
  int n = 0;
  uint64_t total = 0;
  wasi_sockets_tcp_own_pollable_t lp =
      wasi_sockets_tcp_method_tcp_socket_subscribe(wasi_sockets_tcp_borrow_tcp_socket(ls));
  for (;;) {
    wasi_io_poll_borrow_pollable_t bs[MAXC + 1];
    bs[0] = wasi_io_poll_borrow_pollable(lp);
    for (int i = 0; i < n; i++) bs[i + 1] = wasi_io_poll_borrow_pollable(ps[i]);
    wasi_io_poll_list_borrow_pollable_t in = {bs, n + 1};
    program_list_u32_t r;
    wasi_io_poll_poll(&in, &r);
    int dead[MAXC] = {0}, acc = 0;
    for (size_t k = 0; k < r.len; k++) {
      if (r.ptr[k] == 0) {
        acc = 1;
        continue;
      }
      int i = r.ptr[k] - 1;
      program_list_u8_t l;
      wasi_io_streams_stream_error_t e;
      if (!wasi_io_streams_method_input_stream_read(wasi_io_streams_borrow_input_stream(cs[i].i), 65536, &l, &e)) {
        dead[i] = 1;
        continue;
      }
      total += l.len;
      if (l.len && echo && !wrbulk(wasi_io_streams_borrow_output_stream(cs[i].o), l.ptr, l.len)) dead[i] = 1;
      if (l.len) free(l.ptr);
    }
    if (r.len) free(r.ptr);
    for (int i = n - 1; i >= 0; i--)
      if (dead[i]) {
        wasi_io_poll_pollable_drop_own(ps[i]);
        closec(&cs[i]);
        if (!echo) {
          outs("sink total ");
          outu(total);
          outs("\n");
          total = 0;
        }
        n--;
        cs[i] = cs[n];
        ps[i] = ps[n];
      }
    if (acc && n < MAXC) {
      if (!accept_(ls, &cs[n])) return 0;
      ps[n] = wasi_io_streams_method_input_stream_subscribe(wasi_io_streams_borrow_input_stream(cs[n].i));
      n++;
    }
  }
}
static int openf(S path, int w, wasi_filesystem_types_own_descriptor_t *d) {
  wasi_filesystem_preopens_list_tuple2_own_descriptor_string_t l;
  wasi_filesystem_preopens_get_directories(&l);
  for (size_t i = 0; i < l.len; i++) {
    S p = l.ptr[i].f1;
    if (path.len > p.len && !memcmp(path.ptr, p.ptr, p.len)) {
      size_t k = p.len;
      while (k < path.len && path.ptr[k] == '/') k++;
      S rel = {path.ptr + k, path.len - k};
      wasi_filesystem_types_error_code_t e;
      if (wasi_filesystem_types_method_descriptor_open_at(
              wasi_filesystem_types_borrow_descriptor(l.ptr[i].f0),
              WASI_FILESYSTEM_TYPES_PATH_FLAGS_SYMLINK_FOLLOW, &rel,
              w ? (WASI_FILESYSTEM_TYPES_OPEN_FLAGS_CREATE | WASI_FILESYSTEM_TYPES_OPEN_FLAGS_TRUNCATE) : 0,
              w ? WASI_FILESYSTEM_TYPES_DESCRIPTOR_FLAGS_WRITE : WASI_FILESYSTEM_TYPES_DESCRIPTOR_FLAGS_READ, d, &e))
        return 1;
      return fail("open-at", e);
    }
  }
  return fail("no preopen for path", (int)l.len);
}
static int readf(S path, program_list_u8_t *l) {
  wasi_filesystem_types_own_descriptor_t d;
  if (!openf(path, 0, &d)) return 0;
  program_tuple2_list_u8_bool_t r;
  wasi_filesystem_types_error_code_t e;
  int ok = wasi_filesystem_types_method_descriptor_read(wasi_filesystem_types_borrow_descriptor(d), 65536, 0, &r, &e);
  wasi_filesystem_types_descriptor_drop_own(d);
  if (!ok) return fail("read", e);
  *l = r.f0;
  return 1;
}
// prints a file whenever it has changed
static int follow(S path) {
  program_list_u8_t last = {0, 0};
  for (;;) {
    program_list_u8_t now;
    if (!readf(path, &now)) return 0;
    if (now.len != last.len || memcmp(now.ptr, last.ptr, now.len)) {
      out(now.ptr, now.len);
      outs("\n");
    }
    if (last.len) free(last.ptr);
    last = now;
    msleep(20);
  }
}
// the answer to a gRPC health check, as HTTP/2 frames for the connection's first stream
static int grpc_health(S ip, uint16_t port, uint8_t state) {
  static uint8_t answer[] =
      "\0\0\0\4\0\0\0\0\0"                                     // SETTINGS
      "\0\0\0\4\1\0\0\0\0"                                     // SETTINGS, acknowledged
      "\0\0\x14\1\4\0\0\0\1\x88\x0f\x10\x10" "application/grpc"  // HEADERS: 200, content-type
      "\0\0\7\0\0\0\0\0\1\0\0\0\0\2\x08\1"                    // DATA: the status
      "\0\0\x0f\1\5\0\0\0\1\0\x0b" "grpc-status" "\1" "0";      // HEADERS: trailers
  answer[18 + 29 + 15] = state;
  wasi_sockets_tcp_own_tcp_socket_t ls;
  if (!listen_(ip, port, &ls)) return 0;
  for (;;) {
    Conn c;
    if (!accept_(ls, &c)) return 0;
    static uint8_t got[4096];
    size_t n = 0, at = 24, asked = 0;
    program_list_u8_t l;
    while (rd(&c, sizeof got - n, &l)) {
      memcpy(got + n, l.ptr, l.len);
      n += l.len;
      if (l.len) free(l.ptr);
      while (at + 9 <= n) {
        size_t length = got[at] << 16 | got[at + 1] << 8 | got[at + 2];
        if (at + 9 + length > n) break;
        asked |= got[at + 3] <= 1 && got[at + 4] & 1;
        at += 9 + length;
      }
      if (asked == 1 && ++asked) wr(wasi_io_streams_borrow_output_stream(c.o), answer, sizeof answer - 1);
      if (n == sizeof got) break;
    }
    closec(&c);
  }
}
int run(void) {
  program_list_string_t av;
  wasi_cli_environment_get_arguments(&av);
  S *a = av.ptr + 1;
  size_t n = av.len ? av.len - 1 : 0;
  if (!n) {
    outs("toolbox: no mode\n");
    return 1;
  }
  S m = a[0];
  if (is(m, "log")) {
    uint32_t k = n > 1 ? num(a[1]) : 10, ms = n > 2 ? num(a[2]) : 0;
    for (uint32_t i = 0; i < k || !k; i++) {
      outs("log line ");
      outu(i);
      outs("\n");
      if (ms) msleep(ms);
    }
    return 0;
  }
  if (is(m, "burn")) {
    uint32_t k = num(a[2]), r = is(a[1], "sha") ? burn_sha(k) : is(a[1], "mat") ? burn_mat(k) : burn_sieve(k);
    outs("burn ");
    outu(r);
    outs("\n");
    return 0;
  }
  if (is(m, "burnloop")) {
    volatile uint32_t r;
    for (;;) r = is(a[1], "sha") ? burn_sha(1000) : is(a[1], "mat") ? burn_mat(1) : burn_sieve(1);
  }
  if (is(m, "loop")) {
    volatile int x = 0;
    for (;;) x++;
  }
  if (is(m, "hog")) {
    uint32_t mb = num(a[1]);
    for (uint32_t i = 0; i < mb; i++) {
      char *p = malloc((1 << 20) - 64);
      if (!p) {
        outs("malloc failed at MiB ");
        outu(i);
        outs("\n");
        return 1;
      }
      memset(p, 1, (1 << 20) - 64);
    }
    outs("hog ok\n");
    if (n > 2) msleep(num(a[2]));
    return 0;
  }
  if (is(m, "trap")) __builtin_trap();
  if (is(m, "exit")) {
    wasi_cli_exit_exit_with_code((uint8_t)num(a[1]));
    return 0;
  }
  if (is(m, "sleep")) {
    msleep(num(a[1]));
    outs("slept\n");
    return 0;
  }
  if (is(m, "env")) {
    program_list_tuple2_string_string_t e;
    wasi_cli_environment_get_environment(&e);
    for (size_t i = 0; i < e.len; i++) {
      out(e.ptr[i].f0.ptr, e.ptr[i].f0.len);
      outs("=");
      out(e.ptr[i].f1.ptr, e.ptr[i].f1.len);
      outs("\n");
    }
    return 0;
  }
  if (is(m, "write")) {
    wasi_filesystem_types_own_descriptor_t d;
    if (!openf(a[1], 1, &d)) return 1;
    wasi_filesystem_types_filesize_t w;
    wasi_filesystem_types_error_code_t e;
    program_list_u8_t c = {a[2].ptr, a[2].len};
    if (!wasi_filesystem_types_method_descriptor_write(wasi_filesystem_types_borrow_descriptor(d), &c, 0, &w, &e))
      return fail("write", e), 1;
    outs("wrote\n");
    if (n > 3) wasi_cli_exit_exit_with_code((uint8_t)num(a[3]));
    return 0;
  }
  if (is(m, "fill")) {
    wasi_filesystem_types_own_descriptor_t d;
    if (!openf(a[1], 1, &d)) return 1;
    static uint8_t block[65536];
    for (uint64_t i = 0; i < num(a[2]) * 16ull; i++) {
      wasi_filesystem_types_filesize_t w;
      wasi_filesystem_types_error_code_t e;
      program_list_u8_t c = {block, sizeof block};
      if (!wasi_filesystem_types_method_descriptor_write(wasi_filesystem_types_borrow_descriptor(d), &c,
                                                         i * sizeof block, &w, &e))
        return fail("write", e), 1;
    }
    outs("filled\n");
    if (n > 3) msleep(num(a[3]));
    return 0;
  }
  if (is(m, "cat")) {
    program_list_u8_t l;
    if (!readf(a[1], &l)) return 1;
    out(l.ptr, l.len);
    return 0;
  }
  if (is(m, "follow")) return !follow(a[1]);
  if (is(m, "grpc-health")) return !grpc_health(a[1], num(a[2]), num(a[3]));
  if (is(m, "echo-server")) return !echo_server(a[1], num(a[2]), 1);
  if (is(m, "sink")) return !echo_server(a[1], num(a[2]), 0);
  if (is(m, "echo-client")) {
    Conn c;
    if (!dial(a[1], num(a[2]), &c)) return 1;
    if (!wr(wasi_io_streams_borrow_output_stream(c.o), a[3].ptr, a[3].len)) return fail("send", 0), 1;
    size_t got = 0;
    while (got < a[3].len) {
      program_list_u8_t l;
      if (!rd(&c, 4096, &l)) return fail("recv", 0), 1;
      out(l.ptr, l.len);
      got += l.len;
      if (l.len) free(l.ptr);
    }
    outs("\n");
    closec(&c);
    return 0;
  }
  if (is(m, "rtt")) {
    Conn c;
    if (!dial(a[1], num(a[2]), &c)) return 1;
    uint32_t k = num(a[3]), sz = num(a[4]);
    uint8_t *b = calloc(1, sz);
    uint64_t t0 = wasi_clocks_monotonic_clock_now();
    for (uint32_t i = 0; i < k; i++) {
      if (!wrbulk(wasi_io_streams_borrow_output_stream(c.o), b, sz)) return fail("send", i), 1;
      size_t got = 0;
      while (got < sz) {
        program_list_u8_t l;
        if (!rd(&c, sz - got, &l)) return fail("recv", i), 1;
        got += l.len;
        if (l.len) free(l.ptr);
      }
    }
    outs("rtt avg ns ");
    outu((wasi_clocks_monotonic_clock_now() - t0) / k);
    outs("\n");
    closec(&c);
    return 0;
  }
  if (is(m, "flood")) {
    Conn c;
    if (!dial(a[1], num(a[2]), &c)) return 1;
    uint32_t mb = num(a[3]);
    uint8_t *b = calloc(1, 65536);
    uint64_t t0 = wasi_clocks_monotonic_clock_now();
    for (uint32_t i = 0; i < mb * 16; i++)
      if (!wrbulk(wasi_io_streams_borrow_output_stream(c.o), b, 65536)) return fail("send", i), 1;
    uint64_t dt = wasi_clocks_monotonic_clock_now() - t0;
    outs("flood MB/s ");
    outu((uint64_t)mb * 1048576ull * 1000ull / dt);
    outs("\n");
    closec(&c);
    return 0;
  }
  if (is(m, "resolve")) {
    wasi_sockets_network_ip_socket_address_t r = addr(a[1], 0);
    if (!lookup(wasi_sockets_network_borrow_network(wasi_sockets_instance_network_instance_network()), a[1], &r))
      return 1;
    outu(r.val.ipv4.address.f0);
    outs(".");
    outu(r.val.ipv4.address.f1);
    outs(".");
    outu(r.val.ipv4.address.f2);
    outs(".");
    outu(r.val.ipv4.address.f3);
    outs("\n");
    return 0;
  }
  outs("unknown mode\n");
  return 1;
}
