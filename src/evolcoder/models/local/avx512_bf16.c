/* Forward passes in bfloat16 on processors with AVX512-BF16: products with laid out weights, the attention of a
   prompt, and all layers of a llama's kind in one call.

   Compiled on the machine where it runs (bf16_kernels.py). Sums are in fp32, and numbers are rounded where
   torch's modules round them, but for products that are added or multiplied at once. A weight is laid out in
   panels of 32 outputs; a panel holds, pair of inputs by pair, the two numbers of each of its outputs. No
   row's numbers depend on its neighbours. */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define PANEL 32  /* outputs of a panel: two vectors */
#define TILE 12   /* rows summed at a time: 24 vectors of sums */
#define CHUNK 192 /* rows that pass over a weight at a time, and stay in the cache meanwhile */

typedef uint16_t number;

static inline __m512 load(const number *p) {
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
}

static inline void store(number *p, __m512 x) {
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(x));
}

static inline __m512 rounded(__m512 x) {
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)), 16);
}

/* e^x within 2^-17 of it: what is made of it is rounded to bfloat16's 2^-9. */
static inline __m512 exponential(__m512 x) {
    __m512 y = x * 1.44269504f; /* e^x is 2^y */
    /* In this order of arguments what is no number is kept. */
    y = _mm512_min_ps(_mm512_set1_ps(200), _mm512_max_ps(_mm512_set1_ps(-200), y));
    __m512 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = y - n;
    __m512 p = f * 9.58285e-3f + 5.590642e-2f;
    p = p * f + 2.4024099e-1f;
    p = p * f + 6.9312419e-1f;
    return _mm512_scalef_ps(p * f + 1.0f, n);
}

/* Sums of `r` rows times one panel. `next` is asked into the cache meanwhile, `ahead` bytes a pair. */
static inline __attribute__((always_inline)) void tile(
    int r, const number *x, int64_t x_stride, const number *panel, int64_t pairs, const char *next,
    int64_t ahead, float *sums
) {
    __m512 sum[TILE][2];
    for (int i = 0; i < r; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh first = (__m512bh)_mm512_loadu_si512(panel + p * 2 * PANEL);
        __m512bh second = (__m512bh)_mm512_loadu_si512(panel + p * 2 * PANEL + PANEL);
        _mm_prefetch(next + p * ahead, _MM_HINT_T1);
        if (ahead > 64) _mm_prefetch(next + p * ahead + 64, _MM_HINT_T1);
        for (int i = 0; i < r; i++) {
            int32_t two;
            memcpy(&two, x + i * x_stride + 2 * p, sizeof two);
            __m512bh both = (__m512bh)_mm512_set1_epi32(two);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], both, first);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], both, second);
        }
    }
    for (int i = 0; i < r; i++)
        for (int half = 0; half < 2; half++) _mm512_storeu_ps(sums + i * PANEL + half * LANES, sum[i][half]);
}

#define CASE(r) case r: tile(r, x, x_stride, panel, pairs, next, ahead, sums); break

static void sums_of_tile(
    int64_t r, const number *x, int64_t x_stride, const number *panel, int64_t pairs, const void *next,
    int64_t ahead, float *sums
) {
    switch (r) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6);
        CASE(7); CASE(8); CASE(9); CASE(10); CASE(11); CASE(12);
    }
}

struct linear {
    const number *panels, *bias; /* the bias may be null */
    int64_t outputs, inputs;
};

/* PLAIN: out = the product; ADDED: the product + `more`, laid out as `out`; GATED: silu(out) * product. */
enum form { PLAIN, ADDED, GATED };

static void product(
    const struct linear *by, const number *x, number *out, int64_t out_stride, int64_t rows, enum form form,
    const number *more, int threads
) {
    int64_t k = by->inputs, tiles = (rows + TILE - 1) / TILE;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t o = 0; o < by->outputs; o += PANEL) {
        const number *panel = by->panels + o * k;
        float sums[TILE * PANEL];
        for (int64_t t = 0; t < tiles; t++) {
            int64_t from = rows * t / tiles, to = rows * (t + 1) / tiles;
            const char *next = (const char *)(panel + PANEL * k) + 2 * PANEL * k * t / tiles;
            sums_of_tile(to - from, x + from * k, k, panel, k / 2, next, 4 * PANEL / tiles, sums);
            for (int half = 0; half < PANEL; half += LANES) {
                __m512 bias = by->bias ? load(by->bias + o + half) : _mm512_setzero_ps();
                for (int64_t row = from; row < to; row++) {
                    int64_t at = row * out_stride + o + half;
                    __m512 y = _mm512_loadu_ps(sums + (row - from) * PANEL + half) + bias;
                    if (form == ADDED) y += load(more + at);
                    if (form == GATED) {
                        __m512 gate = load(out + at);
                        y *= gate / (1.0f + exponential(-gate));
                    }
                    store(out + at, y);
                }
            }
        }
    }
}

/* out (rows x outputs) = x (rows x inputs) times the weight, plus the bias; both dense. */
void linear(const struct linear *by, const number *x, number *out, int64_t rows, int threads) {
    for (int64_t at = 0; at < rows; at += CHUNK) {
        int64_t m = rows - at < CHUNK ? rows - at : CHUNK;
        product(by, x + at * by->inputs, out + at * by->outputs, by->outputs, m, PLAIN, 0, threads);
    }
}

/* A llama's layer. The width of a head is a multiple of 32. */
struct layer {
    struct linear q, k, v, o, gate, up, down;
    const number *norm_of_attention, *norm_of_mlp;
    float eps_of_attention, eps_of_mlp;
    int64_t width;
};

static void rms_norm(const number *x, const number *weight, float eps, number *out, int64_t rows, int64_t k) {
    for (int64_t row = 0; row < rows; row++, x += k, out += k) {
        __m512 squares = _mm512_setzero_ps();
        for (int64_t i = 0; i < k; i += LANES) squares += load(x + i) * load(x + i);
        float scale = 1 / sqrtf(_mm512_reduce_add_ps(squares) / (float)k + eps);
        for (int64_t i = 0; i < k; i += LANES)
            store(out + i, load(weight + i) * rounded(load(x + i) * scale));
    }
}

static void rotate(number *x, const number *cos, const number *sin, int64_t width) {
    for (int64_t i = 0, j = width / 2; j < width; i += LANES, j += LANES) {
        __m512 first = load(x + i), second = load(x + j);
        store(x + i, rounded(first * load(cos + i)) - rounded(second * load(sin + i)));
        store(x + j, rounded(second * load(cos + j)) + rounded(first * load(sin + j)));
    }
}

/* Queries, keys and values of each row, one after another, from its hidden numbers; the first two are turned
   by the row's position. Rows before `from` get no queries. */
static void before_attention(
    const struct layer *its, const number *x, const number *cos, const number *sin, number *out, int64_t from,
    int64_t rows, number *normed, int threads
) {
    int64_t k = its->q.inputs, turned = its->q.outputs + its->k.outputs, all = turned + its->v.outputs;
    for (int64_t at = 0; at < rows; at += CHUNK) {
        int64_t m = rows - at < CHUNK ? rows - at : CHUNK, skipped = from < at ? 0 : from - at;
        number *to = out + at * all;
        rms_norm(x + at * k, its->norm_of_attention, its->eps_of_attention, normed, m, k);
        if (skipped < m)
            product(&its->q, normed + skipped * k, to + skipped * all, all, m - skipped, PLAIN, 0, threads);
        product(&its->k, normed, to + its->q.outputs, all, m, PLAIN, 0, threads);
        product(&its->v, normed, to + turned, all, m, PLAIN, 0, threads);
        for (int64_t row = 0; row < m; row++) {
            int64_t turn = (at + row) * its->width;
            for (int64_t i = row < skipped ? its->q.outputs : 0; i < turned; i += its->width)
                rotate(to + row * all + i, cos + turn, sin + turn, its->width);
        }
    }
}

/* What the layer hands on, in the place of what came in, from that and from what was attended to. */
static void after_attention(
    const struct layer *its, number *x, const number *attended, int64_t rows, number *hidden, int threads
) {
    int64_t k = its->o.outputs, inner = its->gate.outputs, most = rows < CHUNK ? rows : CHUNK;
    number *normed = hidden + k * most, *gated = normed + k * most;
    for (int64_t at = 0; at < rows; at += CHUNK) {
        int64_t m = rows - at < CHUNK ? rows - at : CHUNK;
        product(&its->o, attended + at * its->o.inputs, hidden, k, m, ADDED, x + at * k, threads);
        rms_norm(hidden, its->norm_of_mlp, its->eps_of_mlp, normed, m, k);
        product(&its->gate, normed, gated, inner, m, PLAIN, 0, threads);
        product(&its->up, normed, gated, inner, m, GATED, 0, threads);
        product(&its->down, gated, x + at * k, k, m, ADDED, hidden, threads);
    }
}

/* 16 numbers, from `begin` on, of each of two vectors by turns. */
static inline __m512i by_turns(int begin) {
    number at[PANEL];
    for (int i = 0; i < PANEL; i++) at[i] = (number)(begin + i / 2 + i % 2 * PANEL);
    return _mm512_loadu_si512(at);
}

/* Keys as panels of 32 columns, values as panels of 32 numbers of a head; what is missing of a panel is 0. */
static void lay_out_head(
    const number *keys, int64_t key_stride, const number *values, int64_t value_stride, int64_t columns,
    int64_t width, number *key_panels, number *value_panels
) {
    int64_t room = (columns + PANEL - 1) / PANEL * PANEL;
    memset(key_panels + (room - PANEL) * width, 0, sizeof(number) * PANEL * width);
    memset(value_panels, 0, sizeof(number) * room * width);
    for (int64_t c = 0; c < columns; c++) {
        number *to = key_panels + c / PANEL * PANEL * width + c % PANEL * 2;
        for (int64_t d = 0; d < width; d += 2)
            memcpy(to + d * PANEL, keys + c * key_stride + d, 2 * sizeof(number));
    }
    for (int64_t c = 0; c < columns; c += 2)
        for (int64_t d = 0; d < width; d += PANEL) {
            const number *one = values + c * value_stride + d;
            __m512i first = _mm512_loadu_si512(one);
            __m512i second = c + 1 < columns ? _mm512_loadu_si512(one + value_stride) : _mm512_setzero_si512();
            number *to = value_panels + d * room + c * PANEL;
            _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, by_turns(0), second));
            _mm512_storeu_si512(to + PANEL, _mm512_permutex2var_epi16(first, by_turns(LANES), second));
        }
}

/* The columns of 16 that a token sees: those before `end` that the mask's line, if there is one, shows. */
static inline __mmask16 seen(const uint8_t *line, int64_t at, int64_t end) {
    __mmask16 in = end - at >= LANES ? 0xffff : end <= at ? 0 : (__mmask16)((1 << (end - at)) - 1);
    if (!line) return in;
    __m128i shown = _mm_maskz_loadu_epi8(in, line + at);
    return _mm_test_epi8_mask(shown, shown);
}

/* Attention of the last `tokens` of `columns`; the heads share keys in groups. Strides count numbers: of a
   head, of a token. The mask (1: sees) has one line a token; null: a token sees itself and what is before it.
   `out` is tokens x heads x width, dense. Returns 0, or 1 where memory is short. */
int prompt_attention(
    const number *query, const int64_t query_strides[2],
    const number *keys, const int64_t key_strides[2],
    const number *values, const int64_t value_strides[2],
    const uint8_t *mask, int64_t mask_stride,
    number *out, int64_t tokens, int64_t columns, int64_t heads, int64_t key_heads, int64_t width,
    float scale, int threads
) {
    int64_t room = (columns + PANEL - 1) / PANEL * PANEL, group = heads / key_heads;
    int64_t tiles = (tokens + TILE - 1) / TILE;
    int short_of_memory = 0;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t head = 0; head < key_heads; head++) {
        number *key_panels = malloc(sizeof(number) * room * (2 * width + TILE) + sizeof(float) * TILE * room);
        if (!key_panels) {
            short_of_memory = 1;
            continue;
        }
        number *value_panels = key_panels + room * width, *weights = value_panels + room * width;
        float *scores = (float *)(weights + TILE * room), sums[TILE * PANEL], whole[TILE];
        lay_out_head(
            keys + head * key_strides[0], key_strides[1], values + head * value_strides[0], value_strides[1],
            columns, width, key_panels, value_panels
        );
        for (int64_t h = head * group; h < (head + 1) * group; h++)
            for (int64_t t = 0; t < tiles; t++) {
                int64_t from = tokens * t / tiles, to = tokens * (t + 1) / tiles, r = to - from;
                int64_t end = mask ? columns : columns - tokens + to;
                const number *q = query + h * query_strides[0] + from * query_strides[1];
                for (int64_t c = 0; c < end; c += PANEL) {
                    const number *panel = key_panels + c * width;
                    sums_of_tile(r, q, query_strides[1], panel, width / 2, panel, 0, sums);
                    for (int64_t i = 0; i < r; i++)
                        memcpy(scores + i * room + c, sums + i * PANEL, sizeof(float) * PANEL);
                }
                for (int64_t i = 0; i < r; i++) {
                    float *score = scores + i * room;
                    const uint8_t *line = mask ? mask + (from + i) * mask_stride : 0;
                    int64_t last = mask ? columns : columns - tokens + from + i + 1;
                    __m512 top = _mm512_set1_ps(-3.4e38f), sum = _mm512_setzero_ps();
                    for (int64_t c = 0; c < last; c += LANES) {
                        __m512 scaled = _mm512_loadu_ps(score + c) * scale;
                        top = _mm512_mask_max_ps(top, seen(line, c, last), top, scaled);
                    }
                    float most = _mm512_reduce_max_ps(top);
                    for (int64_t c = 0; c < (end + 1) / 2 * 2; c += LANES) {
                        __m512 e = exponential(_mm512_loadu_ps(score + c) * scale - most);
                        e = _mm512_maskz_mov_ps(seen(line, c, last), e);
                        sum += e;
                        store(weights + i * room + c, e);
                    }
                    whole[i] = _mm512_reduce_add_ps(sum);
                }
                for (int64_t d = 0; d < width; d += PANEL) {
                    const number *panel = value_panels + d * room;
                    sums_of_tile(r, weights, room, panel, (end + 1) / 2, panel, 0, sums);
                    for (int64_t i = 0; i < r; i++)
                        for (int half = 0; half < PANEL; half += LANES)
                            store(
                                out + ((from + i) * heads + h) * width + d + half,
                                _mm512_loadu_ps(sums + i * PANEL + half) * (whole[i] == 0 ? 0 : 1 / whole[i])
                            );
                }
            }
        free(key_panels);
    }
    return short_of_memory;
}

/* row_attention.c's. */
typedef int attention_of_rows(
    const number *query, const int64_t query_strides[2], const number *keys, const int64_t key_strides[3],
    const number *values, const int64_t value_strides[3], const number *mask, int64_t mask_stride, number *out,
    int64_t rows, int64_t heads, const int64_t *columns, float scale
);

/* All layers, one after another: `n` slots and one new token of each where `of_rows` is given, else one slot
   and `n` new tokens of it. The new ones' keys and values are written where each layer keeps them: strides
   are a slot's, a head's, a column's. `columns` has, for each slot, how many there are with the new ones.
   `out` gets the hidden numbers of the rows from `first` on. Returns 0, or 1 where memory is short. */
int layers(
    const struct layer *its, int64_t count, const number *hidden, const number *cos, const number *sin,
    number *const *keys, number *const *values, const int64_t strides[3], const int64_t *columns,
    attention_of_rows *of_rows, const void *mask, int64_t mask_stride, number *out, int64_t first, int64_t n,
    float scale, int threads
) {
    int64_t k = its->q.inputs, queries = its->q.outputs, own = its->k.outputs, all = queries + 2 * own;
    int64_t width = its->width, most = n < CHUNK ? n : CHUNK, inner = 0;
    for (int64_t l = 0; l < count; l++) inner = its[l].gate.outputs > inner ? its[l].gate.outputs : inner;
    number *x = malloc(sizeof(number) * (n * (k + all + queries) + most * (2 * k + inner)));
    if (!x) return 1;
    number *projected = x + n * k, *attended = projected + n * all, *scratch = attended + n * queries;
    int short_of_memory = 0;
    memcpy(x, hidden, sizeof(number) * n * k);
    for (int64_t l = 0; l < count; l++, its++) {
        int64_t from = l + 1 < count ? 0 : first;
        before_attention(its, x, cos, sin, projected, from, n, scratch, threads);
        for (int64_t row = 0; row < n; row++)
            for (int64_t i = 0; i < own; i += width) {
                int64_t slot = of_rows ? row : 0, column = of_rows ? columns[row] - 1 : *columns - n + row;
                int64_t to = slot * strides[0] + i / width * strides[1] + column * strides[2];
                memcpy(keys[l] + to, projected + row * all + queries + i, sizeof(number) * width);
                memcpy(values[l] + to, projected + row * all + queries + own + i, sizeof(number) * width);
            }
        const number *asked = projected + from * all;
        if (of_rows)
            short_of_memory |= of_rows(
                asked, (int64_t[]){all, width}, keys[l], strides, values[l], strides, mask, mask_stride,
                attended, n, own / width, columns, scale
            );
        else
            short_of_memory |= prompt_attention(
                asked, (int64_t[]){width, all}, keys[l], strides + 1, values[l], strides + 1,
                mask ? (const uint8_t *)mask + from * mask_stride : 0, mask_stride, attended, n - from,
                *columns, queries / width, own / width, width, scale, threads
            );
        after_attention(its, x + from * k, attended, n - from, scratch, threads);
    }
    memcpy(out, x + first * k, sizeof(number) * (n - first) * k);
    free(x);
    return short_of_memory;
}
