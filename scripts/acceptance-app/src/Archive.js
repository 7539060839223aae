import React, {useEffect} from 'react';
import {View} from 'react-native';
import {Button, Card, List, Modal, Spinner, Text} from '@ui-kitten/components';
import {addDays, formatRelative} from 'date-fns';
import {useDispatch, useSelector} from 'react-redux';
import {DAYS_KEPT, restored, swept} from './store';

export function Archive() {
  const dispatch = useDispatch();
  const [chosen, setChosen] = React.useState(null);
  const gone = useSelector(s => s.notes.items.filter(n => n.removed));
  useEffect(() => {
    const timer = setInterval(() => dispatch(swept()), 60000);
    return () => clearInterval(timer);
  }, [dispatch]);
  return (
    <View style={{flex: 1}}>
      <List
        data={gone}
        ListEmptyComponent={<Spinner size="giant" />}
        renderItem={({item}) => (
          <Card onPress={() => setChosen(item)}>
            <Text category="h6">{item.title}</Text>
            <Text status="danger">Gone for good {formatRelative(addDays(item.removed, DAYS_KEPT), Date.now())}</Text>
          </Card>
        )}
      />
      <Modal visible={chosen !== null} onBackdropPress={() => setChosen(null)}>
        <Button
          status="success"
          onPress={() => {
            dispatch(restored(chosen.id));
            setChosen(null);
          }}>
          Bring it back
        </Button>
      </Modal>
    </View>
  );
}
