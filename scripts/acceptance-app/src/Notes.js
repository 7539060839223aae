import React from 'react';
import {View} from 'react-native';
import {Button, Input, List, ListItem, Text} from '@ui-kitten/components';
import {formatDistanceToNow} from 'date-fns';
import {useDispatch, useSelector} from 'react-redux';
import Icon from 'react-native-vector-icons/Feather';
import {filtered, pinned, removed} from './store';

export function Notes({navigation}) {
  const dispatch = useDispatch();
  const {items, filter} = useSelector(s => s.notes);
  const shown = items
    .filter(n => !n.removed && n.title.toLowerCase().includes(filter.toLowerCase()))
    .sort((a, b) => b.pinned - a.pinned || b.changed - a.changed);
  return (
    <View style={{flex: 1}}>
      <Input placeholder="Search" value={filter} onChangeText={t => dispatch(filtered(t))} />
      <List
        data={shown}
        ListEmptyComponent={<Text>Nothing here yet</Text>}
        renderItem={({item}) => (
          <ListItem
            title={item.title}
            description={formatDistanceToNow(item.changed, {addSuffix: true})}
            accessoryLeft={() => <Icon name={item.pinned ? 'bookmark' : 'file-text'} onPress={() => dispatch(pinned(item.id))} />}
            accessoryRight={() => <Icon name="trash" onPress={() => dispatch(removed(item.id))} />}
            onPress={() => navigation.navigate('Editor', {note: item})}
          />
        )}
      />
      <Button onPress={() => navigation.navigate('Editor', {})}>New note</Button>
    </View>
  );
}
