/* Ownership by scope: a variable declared with _cleanup_(f) is handed to f when it goes out of scope. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _unused_            __attribute__((unused))
#define _printf_(a, b)      __attribute__((format(printf, a, b)))

/* Gives the value away: the variable is left empty, so that its cleanup finds nothing. */
#define TAKE_PTR(pointer)                                                                                    \
    ({                                                                                                       \
        __typeof__(pointer) *_p = &(pointer), _taken = *_p;                                                  \
        *_p = NULL;                                                                                          \
        _taken;                                                                                              \
    })
#define TAKE_FD(fd)                                                                                          \
    ({                                                                                                       \
        int *_p = &(fd), _taken = *_p;                                                                       \
        *_p = -1;                                                                                            \
        _taken;                                                                                              \
    })

/* Makes `name_freep` for _cleanup_ from a `name_free` that takes NULL and returns NULL. */
#define DEFINE_CLEANUP(type, function)                                                                       \
    static inline void function##p(type *value)                                                              \
    {                                                                                                        \
        if (*value)                                                                                          \
            function(*value);                                                                                \
    }

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static inline void cleanup_free(void *pointer)
{
    free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define _cleanup_free_  _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
