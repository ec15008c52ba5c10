# Entry: __enter__ and __exit__ of locks, bound without the collector's help. A `with` statement binds both each time,
# and what CPython binds for it costs more than taking and releasing a free lock.

cdef extern from *:
    """
    typedef struct {
        PyObject_HEAD
        vectorcallfunc call;
        PyObject *lock;
    } EntryBound;

    typedef struct {
        PyObject_HEAD
        vectorcallfunc call; /* of lock.__enter__, with the lock as `lock` */
        vectorcallfunc of_class; /* LockBase.__enter__(lock) */
        const char *name;
        PyObject *(*enter)(PyObject *);
        int (*leave)(PyObject *);
        PyTypeObject *owner;
    } EntryMethod;

    static EntryMethod entry_enter, entry_exit;

    #ifdef Py_GIL_DISABLED
    #define ENTRY_SPARES 0
    #else
    #define ENTRY_SPARES 4
    static PyObject *entry_spare[ENTRY_SPARES];
    static int entry_spares;
    #endif

    static PyObject *entry_run(EntryMethod *m, PyObject *lock, size_t n, PyObject *names)
    {
        if (names && PyTuple_GET_SIZE(names)) {
            PyErr_Format(PyExc_TypeError, "%s() takes no keyword arguments", m->name);
            return NULL;
        }
        if (n > (m->enter ? 0 : 3)) {
            PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zu given)", m->name, m->enter ? 0 : 3, n);
            return NULL;
        }
        if (m->enter)
            return m->enter(lock);
        if (m->leave(lock) < 0)
            return NULL;
        Py_RETURN_NONE;
    }

    static PyObject *entry_call_enter(PyObject *self, PyObject *const *args, size_t nf, PyObject *names)
    {
        (void)args;
        return entry_run(&entry_enter, ((EntryBound *)self)->lock, (size_t)PyVectorcall_NARGS(nf), names);
    }

    static PyObject *entry_call_exit(PyObject *self, PyObject *const *args, size_t nf, PyObject *names)
    {
        (void)args;
        return entry_run(&entry_exit, ((EntryBound *)self)->lock, (size_t)PyVectorcall_NARGS(nf), names);
    }

    static PyObject *entry_call_of_class(PyObject *self, PyObject *const *args, size_t nf, PyObject *names)
    {
        EntryMethod *m = (EntryMethod *)self;
        Py_ssize_t n = PyVectorcall_NARGS(nf);
        if (n < 1 || !PyObject_TypeCheck(args[0], m->owner)) {
            PyErr_Format(PyExc_TypeError, "%s() needs a lock of this class", m->name);
            return NULL;
        }
        return entry_run(m, args[0], (size_t)n - 1, names);
    }

    static void entry_dealloc(PyObject *self)
    {
        PyObject *lock = ((EntryBound *)self)->lock;
    #if ENTRY_SPARES
        if (entry_spares < ENTRY_SPARES)
            entry_spare[entry_spares++] = self;
        else
    #endif
            PyObject_Free(self);
        Py_DECREF(lock);
    }

    static PyTypeObject entry_bound_type = {
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "procfast.native._native.bound_entry",
        .tp_basicsize = sizeof(EntryBound),
        .tp_dealloc = entry_dealloc,
        .tp_call = PyVectorcall_Call,
        .tp_vectorcall_offset = offsetof(EntryBound, call),
        .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .tp_doc = "__enter__ or __exit__ of a lock",
    };

    static PyObject *entry_bind(PyObject *self, PyObject *lock, PyObject *type)
    {
        (void)type;
        if (!lock || lock == Py_None)
            return Py_NewRef(self);
    #if ENTRY_SPARES
        EntryBound *bound = entry_spares ? (EntryBound *)PyObject_Init(entry_spare[--entry_spares], &entry_bound_type)
                                         : PyObject_New(EntryBound, &entry_bound_type);
    #else
        EntryBound *bound = PyObject_New(EntryBound, &entry_bound_type);
    #endif
        if (bound) {
            bound->call = ((EntryMethod *)self)->enter ? entry_call_enter : entry_call_exit;
            bound->lock = Py_NewRef(lock);
        }
        return (PyObject *)bound;
    }

    static PyTypeObject entry_method_type = {
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "procfast.native._native.entry",
        .tp_basicsize = sizeof(EntryMethod),
        .tp_descr_get = entry_bind,
        .tp_call = PyVectorcall_Call,
        .tp_vectorcall_offset = offsetof(EntryMethod, of_class),
        .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .tp_doc = "__enter__ or __exit__ of locks",
    };

    static int entry_install(PyTypeObject *type, PyObject *(*enter)(PyObject *), int (*leave)(PyObject *))
    {
        EntryMethod *both[2] = {&entry_enter, &entry_exit};
        if (PyType_Ready(&entry_bound_type) < 0 || PyType_Ready(&entry_method_type) < 0)
            return -1;
        for (int i = 0; i < 2; i++) {
            PyObject_Init((PyObject *)both[i], &entry_method_type);
            both[i]->of_class = entry_call_of_class;
            both[i]->name = i ? "__exit__" : "__enter__";
            both[i]->enter = i ? NULL : enter;
            both[i]->leave = i ? leave : NULL;
            both[i]->owner = type;
            if (PyDict_SetItemString(type->tp_dict, both[i]->name, (PyObject *)both[i]) < 0)
                return -1;
        }
        PyType_Modified(type);
        return 0;
    }
    """
    int entry_install(void *type, void *enter, void *leave) except -1
