// CPU-bound kernels of different instruction mixes: SHA-256 (integer), matrix product (floating point), sieve (memory).
#include <stdint.h>
static const uint32_t K256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
#define RR(x, n) ((x >> n) | (x << (32 - n)))
static void sha_block(uint32_t *h, const uint32_t *in) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++) w[i] = in[i];
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (RR(a, 7) ^ RR(a, 18) ^ (a >> 3)) + w[i - 7] + (RR(b, 17) ^ RR(b, 19) ^ (b >> 10));
  }
  uint32_t v[8];
  for (int i = 0; i < 8; i++) v[i] = h[i];
  for (int i = 0; i < 64; i++) {
    uint32_t t1 =
        v[7] + (RR(v[4], 6) ^ RR(v[4], 11) ^ RR(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K256[i] + w[i];
    uint32_t t2 = (RR(v[0], 2) ^ RR(v[0], 13) ^ RR(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    v[7] = v[6];
    v[6] = v[5];
    v[5] = v[4];
    v[4] = v[3] + t1;
    v[3] = v[2];
    v[2] = v[1];
    v[1] = v[0];
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) h[i] += v[i];
}
static __attribute__((noinline)) uint32_t burn_sha(uint32_t n) {
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
           in[16];
  for (int i = 0; i < 16; i++) in[i] = i * 0x9e3779b9u;
  for (uint32_t i = 0; i < n; i++) {
    in[0] = i;
    sha_block(h, in);
  }
  return h[0];
}
static double MA[128 * 128], MB[128 * 128], MC[128 * 128];
static __attribute__((noinline)) uint32_t burn_mat(uint32_t n) {
  const int N = 128;
  for (int i = 0; i < N * N; i++) {
    MA[i] = i % 7;
    MB[i] = i % 5;
  }
  for (uint32_t r = 0; r < n; r++) {
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++) {
        double s = 0;
        for (int k = 0; k < N; k++) s += MA[i * N + k] * MB[k * N + j];
        MC[i * N + j] = s;
      }
    MA[r % (N * N)] += MC[5];
  }
  return (uint32_t)MC[77];
}
static uint8_t SV[1 << 20];
static __attribute__((noinline)) uint32_t burn_sieve(uint32_t n) {
  uint32_t c = 0;
  for (uint32_t r = 0; r < n; r++) {
    c = 0;
    for (uint32_t i = 2; i < sizeof SV; i++) SV[i] = 1;
    for (uint32_t i = 2; i * i < sizeof SV; i++)
      if (SV[i])
        for (uint32_t j = i * i; j < sizeof SV; j += i) SV[j] = 0;
    for (uint32_t i = 2; i < sizeof SV; i++) c += SV[i];
  }
  return c;
}
