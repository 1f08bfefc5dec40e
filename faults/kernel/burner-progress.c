/* Does a burner get the time that it wants: see burner-progress.h. */
#include "burner-progress.h"

#define KEPT_LOOKS 3

bool burner_progress_look(struct burner_progress *progress, int64_t passed_nsec, int64_t used_nsec,
                          int64_t idle_nsec, int load_percent, bool is_yielding)
{
    int64_t wanted = passed_nsec / 100 * load_percent;
    int64_t used = used_nsec - progress->used_nsec, idle = idle_nsec - progress->idle_nsec;
    int64_t had = progress->ahead_nsec + used;
    bool is_kept = had < wanted / 10 && (idle >= wanted / 2 || (!is_yielding && used == 0));

    *progress = (struct burner_progress){
        .used_nsec = used_nsec,
        .idle_nsec = idle_nsec,
        .ahead_nsec = had > wanted ? had - wanted : 0,
        .n_kept = is_kept ? progress->n_kept + 1 : 0,
    };
    return progress->n_kept >= KEPT_LOOKS;
}
