#include "procfast/error.h"

#include <string.h>

const char *pf_strerror(int code)
{
    switch (code) {
    case PF_EOWNERDEAD:
        return "the last owner of the lock died while it held it";
    case PF_ECORRUPT:
        return "impossible lengths or offsets in shared memory";
    case PF_ETOOBIG:
        return "the ceiling of the queue's memory (max_bytes) is reached";
    case PF_EVERSION:
        return "the segment was made by another version of procfast";
    case PF_ETORN:
        return "the message was not sent whole";
    case PF_EBROKEN:
        return "the barrier is broken";
    default: {
        const char *text = strerror(code);
        return text ? text : "unknown error";
    }
    }
}
