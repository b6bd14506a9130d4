/* Axelrod's norms game by hand: populations of 20 one after another, random numbers drawn as they are needed.
 *
 *     cc -O2 -o axelrod axelrod.c -lm
 *     ./axelrod METANORMS POPULATIONS GENERATIONS SEED
 *
 * prints the shares of populations in which the norm is established and collapsed, and the seconds it took. It is the
 * peer of societas.policies.populations.norms, whose reading of Axelrod (1986) it follows.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 20, OPPORTUNITIES = 4, BITS = 3, TOP = 7 };

static uint64_t state;

static double uniform(void) { /* SplitMix64 */
    uint64_t z = state += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return ((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static int boldness[N], vengefulness[N];
static double score[N];

static void live(int metanorms) {
    memset(score, 0, sizeof score);
    for (int time = 0; time < OPPORTUNITIES; time++)
        for (int i = 0; i < N; i++) {
            double seen = uniform();
            int passed[N], failures = 0;
            if (boldness[i] / (double)TOP <= seen) continue;
            score[i] += 3;
            for (int j = 0; j < N; j++) {
                if (j == i) continue;
                score[j] -= 1;
                if (uniform() >= seen) continue;
                if (uniform() < vengefulness[j] / (double)TOP) {
                    score[i] -= 9;
                    score[j] -= 2;
                } else {
                    passed[failures++] = j;
                }
            }
            if (!metanorms) continue;
            for (int f = 0; f < failures; f++)
                for (int k = 0; k < N; k++)
                    if (k != i && k != passed[f] && uniform() < seen && uniform() < vengefulness[k] / (double)TOP) {
                        score[passed[f]] -= 9;
                        score[k] -= 2;
                    }
        }
}

static int mutated(int gene) {
    for (int k = 0; k < BITS; k++)
        if (uniform() < 0.01) gene ^= 1 << k;
    return gene;
}

static void breed(void) {
    double mean = 0, square = 0, sd;
    int child[2 * N], count = 0, b[N], v[N];
    for (int i = 0; i < N; i++) mean += score[i] / N;
    for (int i = 0; i < N; i++) square += (score[i] - mean) * (score[i] - mean);
    sd = sqrt(square / N);
    for (int i = 0; i < N; i++) {
        double gap = score[i] - mean;
        int many = gap >= sd - 1e-9 ? 2 : gap > -sd + 1e-9 ? 1 : 0;
        while (many--) child[count++] = i;
    }
    if (count > N) { /* remove at random */
        for (int i = 0; i < N; i++) {
            int j = i + (int)(uniform() * (count - i)), kept = child[j];
            child[j] = child[i];
            child[i] = kept;
        }
    } else { /* copy at random */
        for (int i = count; i < N; i++) child[i] = child[(int)(uniform() * count)];
    }
    for (int i = 0; i < N; i++) {
        b[i] = mutated(boldness[child[i]]);
        v[i] = mutated(vengefulness[child[i]]);
    }
    memcpy(boldness, b, sizeof b);
    memcpy(vengefulness, v, sizeof v);
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: %s METANORMS POPULATIONS GENERATIONS SEED\n", words[0]);
        return 2;
    }
    int metanorms = atoi(words[1]), populations = atoi(words[2]), generations = atoi(words[3]);
    int established = 0, collapsed = 0;
    clock_t start = clock();
    state = strtoull(words[4], NULL, 10);
    for (int run = 0; run < populations; run++) {
        double b = 0, v = 0;
        for (int i = 0; i < N; i++) {
            boldness[i] = (int)(uniform() * (TOP + 1));
            vengefulness[i] = (int)(uniform() * (TOP + 1));
        }
        for (int time = 0; time < generations; time++) {
            live(metanorms);
            breed();
        }
        for (int i = 0; i < N; i++) {
            b += boldness[i] / (double)(N * TOP);
            v += vengefulness[i] / (double)(N * TOP);
        }
        established += b <= 2 / 7. + 1e-9 && v >= 5 / 7. - 1e-9;
        collapsed += b >= 6 / 7. - 1e-9 && v <= 1 / 7. + 1e-9;
    }
    printf("%.6f %.6f %.6f\n", established / (double)populations, collapsed / (double)populations,
           (clock() - start) / (double)CLOCKS_PER_SEC);
    return 0;
}
