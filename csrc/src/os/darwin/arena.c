/* macOS has no locks of open file descriptions: what others could reach is never reused (arena.h). */
#include "../../os.h"

#ifdef PF__OS_DARWIN

int pf__epoch_begin(struct pf_peer *p, uint32_t epoch, void **hold)
{
    (void)p, (void)epoch, (void)hold;
    return -ENOSYS;
}

int pf__epoch_held(struct pf_peer *p, uint32_t from, uint32_t to, uint32_t *held)
{
    (void)p, (void)from, (void)to, (void)held;
    return -ENOSYS;
}

#endif
