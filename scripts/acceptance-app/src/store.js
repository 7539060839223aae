import {configureStore, createSlice, nanoid} from '@reduxjs/toolkit';
import {differenceInDays} from 'date-fns';

export const DAYS_KEPT = 30;

const notes = createSlice({
  name: 'notes',
  initialState: {items: [], filter: ''},
  reducers: {
    saved: {
      reducer(state, {payload}) {
        const at = state.items.findIndex(n => n.id === payload.id);
        if (at < 0) {
          state.items.unshift(payload);
        } else {
          state.items[at] = payload;
        }
      },
      prepare: note => ({payload: {id: nanoid(), pinned: false, ...note, changed: Date.now()}}),
    },
    pinned(state, {payload}) {
      const note = state.items.find(n => n.id === payload);
      note.pinned = !note.pinned;
    },
    removed(state, {payload}) {
      const note = state.items.find(n => n.id === payload);
      note.removed = Date.now();
    },
    restored(state, {payload}) {
      delete state.items.find(n => n.id === payload).removed;
    },
    swept(state) {
      state.items = state.items.filter(n => !n.removed || differenceInDays(Date.now(), n.removed) < DAYS_KEPT);
    },
    filtered(state, {payload}) {
      state.filter = payload;
    },
  },
});

export const {saved, pinned, removed, restored, swept, filtered} = notes.actions;
export const store = configureStore({reducer: {notes: notes.reducer}});
