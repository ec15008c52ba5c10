/* libprocfast: what processes need to share memory, wait for each other and survive each other's death. */
#ifndef PROCFAST_H
#define PROCFAST_H

#include "base.h"
#include "error.h"
#include "clock.h"
#include "futex.h"
#include "self.h"
#include "peer.h"
#include "mutex.h"
#include "shm.h"
#include "named_shm.h"
#include "bell.h"
#include "wire.h"
#include "ring.h"
#include "link.h"
#include "child.h"
#include "family.h"
#include "inherit.h"
#include "arena.h"
#include "lock.h"
#include "sem.h"
#include "event.h"
#include "cond.h"
#include "barrier.h"
#include "pipe.h"
#include "named_sem.h"
#include "mqueue.h"

#endif
