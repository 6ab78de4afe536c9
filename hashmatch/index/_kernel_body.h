/* Included by _kernel.c once per processor it is compiled for. */

TARGET static uint32_t NAME(key_of)(const uint64_t *value, const uint64_t *mask, size_t words) {
    uint64_t key = 0;
    for (size_t w = 0, at = 0; w < words; w++)
        if (mask[w]) {
            key |= PEXT(value[w], mask[w]) << at;
            at += (size_t)__builtin_popcountll(mask[w]);
        }
    return (uint32_t)key;
}

/* Appends the postings of every key exactly `flips` bits from `key`, flipping bits from `from` on; how many rows. */
TARGET static size_t NAME(probe)(const uint32_t *offsets, uint32_t key, unsigned bits, unsigned flips, unsigned from,
                                 Runs *runs) {
    size_t total = 0;
    if (!flips) {
        uint32_t at = offsets[key], count = offsets[key + 1] - at;
        if (count && runs->used < runs->room) runs->runs[runs->used++] = (Run){at, count};
        return count;
    }
    if (flips == 1) {
        for (unsigned b = from; b < bits; b++) __builtin_prefetch(&offsets[key ^ (1u << b)]);
        for (unsigned b = from; b < bits; b++) {
            uint32_t other = key ^ (1u << b), at = offsets[other], count = offsets[other + 1] - at;
            if (count && runs->used < runs->room) runs->runs[runs->used++] = (Run){at, count};
            total += count;
        }
        return total;
    }
    if (flips == 2)  /* the next level's memory is asked for while this one's is being read */
        for (unsigned b = from; b + 1 < bits; b++)
            for (unsigned c = b + 1; c < bits; c++) __builtin_prefetch(&offsets[key ^ (1u << b) ^ (1u << c)]);
    for (unsigned b = from; b + flips - 1 < bits; b++)
        total += NAME(probe)(offsets, key ^ (1u << b), bits, flips - 1, b + 1, runs);
    return total;
}

TARGET static void NAME(scan_all)(const Index *ix, const uint8_t *queries, size_t count, uint32_t threshold, Hits *hits) {
    uint64_t *words = malloc(8 * ix->words * (count ? count : 1));
    if (!words) { hits->failed = 1; return; }
    for (size_t q = 0; q < count; q++) load(words + q * ix->words, queries + q * ix->width, ix->width, ix->words);
    for (size_t begin = 0; begin < ix->n; begin += BLOCK_ROWS) {
        size_t end = begin + BLOCK_ROWS < ix->n ? begin + BLOCK_ROWS : ix->n;
        for (size_t q = 0; q < count; q++) {
            const uint64_t *query = words + q * ix->words;
            if (ix->width == 32) {
                const uint8_t *row = ix->rows + 32 * begin;
                for (size_t i = begin; i < end; i++, row += 32) {
                    unsigned distance = apart(query, row, 32, 4);
                    if (distance <= threshold) put(hits, (uint32_t)q, (uint32_t)i, distance);
                }
            } else {
                for (size_t i = begin; i < end; i++) {
                    unsigned distance = apart(query, ix->rows + ix->width * i, ix->width, ix->words);
                    if (distance <= threshold) put(hits, (uint32_t)q, (uint32_t)i, distance);
                }
            }
        }
    }
    free(words);
}

/* What it costs to look at the rows of some keys. More than evenly spread rows would give are a crowd of near-duplicates:
   most of those are found by several chunks, and cost little after the first time. */
TARGET static double NAME(cost)(const Index *ix, Costs costs, double probes, unsigned bits, double rows) {
    double even = (double)ix->n * probes / (double)((uint64_t)1 << bits);
    double crowd = rows > even ? rows - even : 0;
    return probes * costs.probe_ns + (rows - crowd) * costs.row_ns + crowd * costs.row_ns / CROWDED;
}

/* Gives every chunk its units so that they add up to threshold + 1, each to the chunk where it costs least. See plan.py
   for why that is enough. seen0 and seen1: rows with the chunk's very key, and with one bit of it flipped. */
TARGET static double NAME(spread)(const Index *ix, uint32_t threshold, const size_t *seen0, const size_t *seen1,
                                  Costs costs, unsigned *units) {
    double spent = 0, next[MAX_CHUNKS];
    for (size_t c = 0; c < ix->chunks; c++) {
        units[c] = 0;
        next[c] = NAME(cost)(ix, costs, 1, ix->bits[c], (double)seen0[c]);
    }
    for (uint32_t unit = 0; unit <= threshold; unit++) {
        size_t best = 0;
        for (size_t c = 1; c < ix->chunks; c++)
            if (next[c] < next[best]) best = c;
        spent += next[best];
        unsigned flips = ++units[best], bits = ix->bits[best];
        if (flips > bits) {  /* every key is probed: the chunk has given all rows, and there is nothing to be missed */
            next[best] = 1e300;
            continue;
        }
        double probes = 1, rows = (double)seen1[best];
        for (unsigned f = 0; f < flips; f++) probes *= (double)(bits - f) / (f + 1);
        if (flips > 1) {  /* nobody has looked there yet: evenly spread rows, or the crowd near this key thinning out */
            double even = (double)ix->n * probes / (double)((uint64_t)1 << bits);
            rows = rows > even ? rows : even;
        }
        next[best] = NAME(cost)(ix, costs, probes, bits, rows);
    }
    return spent;
}

/* Finds the pairs of one query; 0 where comparing everything is cheaper, and nothing was done. */
TARGET static int NAME(search_one)(const Index *ix, const uint8_t *given, uint32_t number, uint32_t threshold,
                                    Costs costs, Runs *runs, uint64_t **looked, Hits *hits) {
    uint64_t query[MAX_WORDS];
    uint32_t keys[MAX_CHUNKS];
    size_t seen0[MAX_CHUNKS], seen1[MAX_CHUNKS], total = 0;
    unsigned units[MAX_CHUNKS];
    load(query, given, ix->width, ix->words);
    for (size_t c = 0; c < ix->chunks; c++) {
        keys[c] = NAME(key_of)(query, ix->masks + c * ix->words, ix->words);
        const uint32_t *offsets = ix->offsets + ix->starts[c];
        __builtin_prefetch(&offsets[keys[c]]);
        for (unsigned b = 0; b < ix->bits[c]; b++) __builtin_prefetch(&offsets[keys[c] ^ (1u << b)]);
    }
    Runs nothing = {0};
    for (size_t c = 0; c < ix->chunks; c++) {
        const uint32_t *offsets = ix->offsets + ix->starts[c];
        seen0[c] = NAME(probe)(offsets, keys[c], ix->bits[c], 0, 0, &nothing);
        seen1[c] = NAME(probe)(offsets, keys[c], ix->bits[c], 1, 0, &nothing);
    }
    double flat = costs.flat_ns * (double)ix->n;
    int by_scan = NAME(spread)(ix, threshold, seen0, seen1, costs, units) > flat;
    runs->used = 0;
    double cost = 0;
    for (size_t c = 0; c < ix->chunks && !by_scan; c++) {
        double probes = 1;
        for (unsigned flips = 0; flips < units[c] && flips <= ix->bits[c]; flips++) {
            size_t rows = NAME(probe)(ix->offsets + ix->starts[c], keys[c], ix->bits[c], flips, 0, runs);
            cost += NAME(cost)(ix, costs, probes, ix->bits[c], (double)rows);
            total += rows;
            probes *= (double)(ix->bits[c] - flips) / (flips + 1);
        }
        runs->runs[runs->room + c].at = (uint32_t)runs->used;  /* where this chunk's runs end */
        by_scan = runs->used == runs->room || cost > flat;
    }
    if (by_scan) return 0;
    int once = total > MANY;
    if (once && !*looked) {
        *looked = calloc((ix->n + 63) / 64, 8);
        if (!*looked) once = 0;
    }
    size_t before = hits->used, r = 0;
    /* A crowd that turns out to be as many different rows is given up, at the cost of one scan at most. */
    size_t left = once ? (size_t)(flat / costs.row_ns) : SIZE_MAX;
    for (size_t c = 0; c < ix->chunks && left; c++) {
        const uint32_t *ids = ix->ids + c * ix->n;
        size_t end = runs->runs[runs->room + c].at;
        for (size_t ahead = r; ahead < end && ahead < r + AHEAD; ahead++) __builtin_prefetch(&ids[runs->runs[ahead].at]);
        uint32_t waiting[AHEAD];
        unsigned held = 0, next = 0;
        for (; r < end && left; r++) {
            if (r + AHEAD < end) __builtin_prefetch(&ids[runs->runs[r + AHEAD].at]);
            const uint32_t *of = ids + runs->runs[r].at;
            for (uint32_t i = 0; i < runs->runs[r].count; i++) {
                uint32_t row = of[i];
                if (once) {
                    uint64_t bit = (uint64_t)1 << (row & 63);
                    if ((*looked)[row >> 6] & bit) continue;
                    (*looked)[row >> 6] |= bit;
                    if (!--left) break;
                }
                __builtin_prefetch(ix->rows + (size_t)row * ix->width);
                if (held == AHEAD) {
                    uint32_t old = waiting[next];
                    unsigned distance = apart(query, ix->rows + (size_t)old * ix->width, ix->width, ix->words);
                    if (distance <= threshold) put(hits, number, old, distance);
                } else {
                    held++;
                }
                waiting[next] = row;
                next = (next + 1) % AHEAD;
            }
        }
        for (unsigned i = 0; i < held; i++) {
            uint32_t old = waiting[i];
            unsigned distance = apart(query, ix->rows + (size_t)old * ix->width, ix->width, ix->words);
            if (distance <= threshold) put(hits, number, old, distance);
        }
    }
    if (once) memset(*looked, 0, 8 * ((ix->n + 63) / 64));  /* less than walking all of them again */
    if (!left) {
        hits->used = before;
        return 0;
    }
    if (hits->failed || once) return 1;
    /* A row within the threshold may be found by several chunks. */
    Hit *found = hits->hits + before;
    size_t number_found = hits->used - before;
    if (number_found > 1) qsort(found, number_found, sizeof(Hit), by_row);
    size_t kept = 0;
    for (size_t i = 0; i < number_found; i++)
        if (!kept || found[kept - 1].row != found[i].row) found[kept++] = found[i];
    hits->used = before + kept;
    return 1;
}

TARGET static void NAME(search_all)(const Index *ix, const uint8_t *queries, size_t count, uint32_t threshold,
                                    Costs costs, Hits *hits) {
    /* A plan that probes more than this costs more than a scan: see `flat` above, and probe_ns > 0. */
    double most = costs.flat_ns * (double)ix->n / costs.probe_ns + 4096;
    Runs runs = {.room = most > 4e6 ? (size_t)4e6 : (size_t)most};
    runs.runs = malloc((runs.room + MAX_CHUNKS) * sizeof(Run));
    uint64_t *looked = NULL;
    uint8_t *left = malloc(count * ix->width + 1);
    uint32_t *numbers = malloc(4 * (count + 1));
    size_t scanned = 0;
    if (!runs.runs || !left || !numbers) hits->failed = 1;
    for (size_t q = 0; q < count && !hits->failed; q++)
        if (!NAME(search_one)(ix, queries + q * ix->width, (uint32_t)q, threshold, costs, &runs, &looked, hits)) {
            memcpy(left + scanned * ix->width, queries + q * ix->width, ix->width);
            numbers[scanned++] = (uint32_t)q;
        }
    if (scanned && !hits->failed) {  /* all of them in one pass over the rows */
        size_t before = hits->used;
        NAME(scan_all)(ix, left, scanned, threshold, hits);
        for (size_t h = before; h < hits->used; h++) hits->hits[h].query = numbers[hits->hits[h].query];
    }
    free(runs.runs);
    free(looked);
    free(left);
    free(numbers);
}

TARGET static void NAME(post_chunk)(const uint8_t *rows, size_t n, size_t width, const uint64_t *mask, unsigned bits,
                                    uint32_t *offsets, uint32_t *ids, uint32_t *keys) {
    size_t words = (width + 7) / 8, buckets = (size_t)1 << bits;
    uint64_t value[MAX_WORDS];
    memset(offsets, 0, 4 * (buckets + 1));
    for (size_t i = 0; i < n; i++) {
        load(value, rows + i * width, width, words);
        keys[i] = NAME(key_of)(value, mask, words);
        offsets[keys[i]]++;
    }
    uint32_t sum = 0;
    for (size_t k = 0; k <= buckets; k++) {  /* where each bucket ends */
        sum += offsets[k];
        offsets[k] = sum;
    }
    for (size_t i = n; i-- > 0;) ids[--offsets[keys[i]]] = (uint32_t)i;  /* and then begins */
}
